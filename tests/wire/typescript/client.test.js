// The official TypeScript client, unmodified, does what a newcomer does with an agent.
// BASE_URL names the server; its providers are the scripted model server, so every handle answers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BadRequestError, NotFoundError, UnprocessableEntityError } from "@letta-ai/letta-client";
import { HANDLES, UNKNOWN, client, collect, kinds, makeAgent, replyWith, texts, until, user, word } from "./talk.js";

test("health and models", async () => {
  assert.equal((await client.health()).status, "ok");
  const handles = (await client.models.list()).map((one) => one.handle);
  assert.deepEqual(HANDLES.filter((handle) => !handles.includes(handle)), []);
});

test("an agent is created with blocks, changed, listed and deleted", async () => {
  const name = word("agent");
  const agent = await makeAgent(HANDLES[0], { name, tags: [name] });
  assert.deepEqual(agent.blocks.map((block) => [block.label, block.value]), [["human", "H"]]);
  assert.deepEqual(await client.agents.retrieve(agent.id), agent);
  const changed = await client.agents.update(agent.id, { description: "d" });
  assert.equal(changed.description, "d");
  assert.deepEqual((await collect(client.agents.list({ tags: [name], limit: 1 }))).map((one) => one.id), [agent.id]);
  await client.agents.delete(agent.id);
  await assert.rejects(client.agents.retrieve(agent.id), NotFoundError);
});

for (const handle of HANDLES) {
  test(`${handle}: a message is answered`, async () => {
    const [agent, text] = [await makeAgent(handle), word()];
    const reply = await client.agents.messages.create(agent.id, { messages: user(replyWith(text)) });
    assert.deepEqual([texts(reply.messages), reply.stop_reason.stop_reason], [[text], "end_turn"]);
    assert.equal(reply.usage.step_count, 1);
  });

  test(`${handle}: a memory tool changes the block`, async () => {
    const [agent, fact] = [await makeAgent(handle), word("fact")];
    const input = `Call the memory_insert tool with label 'human' and new_string '${fact}'`;
    const reply = await client.agents.messages.create(agent.id, { input });
    const result = reply.messages.find((one) => one.message_type === "tool_return_message");
    assert.equal(result.status, "success");
    assert.ok((await client.agents.blocks.retrieve("human", { agent_id: agent.id })).value.includes(fact));
  });

  test(`${handle}: streams of steps and of tokens`, async () => {
    const [agent, text] = [await makeAgent(handle), "alpha beta gamma delta"];
    const body = { messages: user(replyWith(text)), streaming: true };
    const steps = await collect(await client.agents.messages.create(agent.id, body));
    assert.deepEqual(kinds(steps), ["ping", "assistant_message", "stop_reason", "usage_statistics"]);
    assert.deepEqual(texts(steps), [text]);
    const tokens = await collect(await client.agents.messages.create(agent.id, { ...body, stream_tokens: true }));
    assert.ok(texts(tokens).length > 1);
    assert.equal(texts(tokens).join(""), text);
  });

  test(`${handle}: a background stream is left and resumed`, async () => {
    const [agent, text] = [await makeAgent(handle), "one two three four five six"];
    const body = { messages: user(replyWith(text)), streaming: true, stream_tokens: true, background: true };
    const stream = await client.agents.messages.create(agent.id, body);
    const seen = [];
    for await (const event of stream) {
      seen.push(event);
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen.map((one) => one.seq_id), [1, 2]);
    const rest = await collect(await client.runs.messages.stream(seen[0].run_id, { starting_after: 2 }));
    assert.equal(texts([...seen, ...rest]).join(""), text);
    assert.deepEqual(kinds(rest).slice(-2), ["stop_reason", "usage_statistics"]);
  });

  test(`${handle}: an asynchronous message is answered later`, async () => {
    const [agent, text] = [await makeAgent(handle), word()];
    const run = await client.agents.messages.createAsync(agent.id, { messages: user(replyWith(text)) });
    const ended = await until(() => client.runs.retrieve(run.id), (one) => !["created", "running"].includes(one.status));
    assert.deepEqual([ended.status, ended.stop_reason], ["completed", "end_turn"]);
    assert.deepEqual(texts(await collect(client.runs.messages.list(run.id))), [text]);
  });
}

test("messages are listed page by page, and backwards", async () => {
  const agent = await makeAgent();
  const said = [word(), word(), word()];
  for (const text of said) await client.agents.messages.create(agent.id, { messages: user(replyWith(text)) });
  const oldestFirst = await collect(client.agents.messages.list(agent.id, { limit: 3, order: "asc" }));
  assert.deepEqual(texts(oldestFirst), said);
  const ids = oldestFirst.map((one) => one.id);
  const page = async (query) =>
    (await client.agents.messages.list(agent.id, { limit: 2, ...query })).getPaginatedItems().map((one) => one.id);
  assert.deepEqual(await page({}), ids.slice(-2));
  assert.deepEqual(await page({ before: ids.at(-2) }), ids.slice(-4, -2));
  assert.deepEqual(await page({ after: ids.at(-2) }), ids.slice(-1));
});

test("blocks are made, attached, shared, detached and deleted", async () => {
  const [first, second] = [await makeAgent(), await makeAgent()];
  const block = await client.blocks.create({ label: word("shared"), value: "v" });
  for (const agent of [first, second]) await client.agents.blocks.attach(block.id, { agent_id: agent.id });
  await client.agents.blocks.update(block.label, { agent_id: first.id, value: "new" });
  assert.equal((await client.agents.blocks.retrieve(block.label, { agent_id: second.id })).value, "new");
  assert.equal((await client.blocks.update(block.id, { value: "newer" })).value, "newer");
  const holders = (await collect(client.blocks.agents.list(block.id))).map((one) => one.id);
  assert.deepEqual(holders.sort(), [first.id, second.id].sort());
  await client.agents.blocks.detach(block.id, { agent_id: first.id });
  await assert.rejects(client.agents.blocks.retrieve(block.label, { agent_id: first.id }), NotFoundError);
  await client.blocks.delete(block.id);
  await assert.rejects(client.blocks.retrieve(block.id), NotFoundError);
});

test("tools are listed, detached and attached", async () => {
  const agent = await makeAgent();
  const [insert] = await collect(client.tools.list({ name: "memory_insert" }));
  const names = async () => (await collect(client.agents.tools.list(agent.id))).map((one) => one.name);
  assert.ok((await names()).includes("memory_insert"));
  await client.agents.tools.detach(insert.id, { agent_id: agent.id });
  assert.ok(!(await names()).includes("memory_insert"));
  await client.agents.tools.attach(insert.id, { agent_id: agent.id });
  assert.ok((await names()).includes("memory_insert"));
});

test("a slow turn is cancelled", async () => {
  const agent = await makeAgent("openai/slow-20000");
  const run = await client.agents.messages.createAsync(agent.id, { messages: user(replyWith("x")) });
  await until(() => client.runs.retrieve(run.id), (one) => one.status === "running");
  assert.deepEqual(await client.agents.messages.cancel(agent.id, { run_ids: [run.id] }), { [run.id]: "cancelled" });
  assert.equal((await client.runs.retrieve(run.id)).status, "cancelled");
});

test("errors are raised by their class", async () => {
  const agent = await makeAgent();
  await assert.rejects(client.agents.retrieve(`agent-${UNKNOWN}`), NotFoundError);
  await assert.rejects(client.blocks.retrieve(`block-${UNKNOWN}`), NotFoundError);
  await assert.rejects(client.agents.create({ model: "openai/nope-9" }), NotFoundError);
  await assert.rejects(client.agents.retrieve("nope"), UnprocessableEntityError);
  await assert.rejects(client.agents.messages.create(agent.id, { messages: [] }), UnprocessableEntityError);
  await assert.rejects(client.agents.create({ name: "x" }), BadRequestError);
});
