// Talks by the official TypeScript client: messages of an agent and of all, conversations, schedules, templates; and
// what it has no method for. A part of surface.test.js, which asks that no method was missed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NotFoundError } from "@letta-ai/letta-client";
import { HANDLES, client, collect, kinds, makeAgent, replyWith, texts, until, user, word } from "./talk.js";

const [REHEARSED, OPENAI] = HANDLES;
const SLOW = "openai/slow-20000";
const ids = (items) => items.map((one) => one.id);
const contents = (messages) => messages.map((one) => one.content);
const tell = (agent, text) => client.agents.messages.create(agent.id, { messages: user(replyWith(text)) });
const tellTalk = async (talk, text) =>
  collect(await client.conversations.messages.create(talk.id, { messages: user(replyWith(text)) }));

test("messages of an agent", async () => {
  const [agent, said] = [await makeAgent(OPENAI), [word(), word()]];
  await tell(agent, said[0]);
  const body = { messages: user(replyWith(said[1])), stream_tokens: true };
  const events = await collect(await client.agents.messages.stream(agent.id, body));
  assert.equal(texts(events).join(""), said[1]);
  assert.deepEqual(kinds(events).slice(-2), ["stop_reason", "usage_statistics"]);
  assert.deepEqual(texts(await collect(client.agents.messages.list(agent.id, { order: "asc" }))), said);
  const compacted = await client.agents.messages.compact(agent.id, { compaction_settings: { mode: "all" } });
  assert.ok(compacted.summary.length > 0 && compacted.num_messages_after < compacted.num_messages_before);
  const slow = await makeAgent(SLOW);
  const run = await client.agents.messages.createAsync(slow.id, { input: "x" });
  assert.deepEqual(await client.agents.messages.cancel(slow.id), { [run.id]: "cancelled" });
  const reset = await client.agents.messages.reset(agent.id, { add_default_initial_messages: false });
  assert.deepEqual([reset.id, reset.message_ids.length], [agent.id, 1]);
  const kept = texts(await collect(client.agents.messages.list(agent.id, { order: "asc" })));
  assert.deepEqual(kept, said, "only the window is emptied");
});

test("messages of all agents", async () => {
  const [agent, text] = [await makeAgent(), word("needle")];
  const reply = await tell(agent, text);
  const [message] = reply.messages;
  assert.deepEqual(contents(await client.messages.retrieve(message.id)), [text]);
  const listed = await client.messages.list({ limit: 50, include_return_message_types: ["assistant_message"] });
  assert.ok(ids(listed).includes(message.id));
  const found = await client.messages.search({ query: text });
  assert.ok(found.some((one) => one.message_id === message.id || JSON.stringify(one).includes(text)));
});

test("conversations", async () => {
  const [agent, said] = [await makeAgent(), [word(), word(), word()]];
  const talk = await client.conversations.create({ agent_id: agent.id, summary: "s" });
  assert.equal((await client.conversations.update(talk.id, { summary: "t" })).summary, "t");
  const read = await client.conversations.retrieve(talk.id);
  assert.deepEqual([read.agent_id, read.summary], [agent.id, "t"]);
  assert.deepEqual(ids(await client.conversations.list({ agent_id: agent.id })), [talk.id]);
  assert.deepEqual(texts(await tellTalk(talk, said[0])), [said[0]]);
  const background = { messages: user(replyWith(said[1])), background: true };
  const [{ run_id }] = await collect(await client.conversations.messages.create(talk.id, background));
  const again = await collect(await client.conversations.messages.stream(talk.id, { run_id, starting_after: 0 }));
  assert.deepEqual(texts(again), [said[1]]);
  const history = (one) => collect(client.conversations.messages.list(one.id, { order: "asc" }));
  assert.deepEqual(texts(await history(talk)), said.slice(0, 2));
  assert.deepEqual(texts(await collect(client.agents.messages.list(agent.id, { order: "asc" }))), said.slice(0, 2));
  assert.deepEqual(texts(await collect(client.agents.messages.list(agent.id, { conversation_id: "default" }))), []);
  const fork = await client.conversations.fork(talk.id);
  await tellTalk(fork, said[2]);
  assert.deepEqual([texts(await history(fork)), texts(await history(talk))], [said, said.slice(0, 2)]);
  assert.ok((await client.conversations.messages.compact(fork.id, { compaction_settings: { mode: "all" } })).summary);
  assert.ok((await client.conversations.recompile(talk.id)).includes("H"));
  for (const one of [fork, talk]) await client.conversations.delete(one.id);
  await assert.rejects(client.conversations.retrieve(talk.id), NotFoundError);
});

test("a conversation is cancelled while another goes on", async () => {
  const agent = await makeAgent(SLOW);
  const slow = await client.conversations.create({ agent_id: agent.id });
  const quick = await client.conversations.create({ agent_id: agent.id, model: REHEARSED });
  const stream = await client.conversations.messages.create(slow.id, { messages: user("x"), background: true });
  const events = collect(stream);
  const text = word();
  assert.deepEqual(texts(await tellTalk(quick, text)), [text]);
  assert.deepEqual(Object.values(await client.conversations.cancel(slow.id)), ["cancelled"]);
  const reasons = (await events).filter((one) => one.message_type === "stop_reason");
  assert.deepEqual(reasons.map((one) => one.stop_reason), ["cancelled"]);
});

test("schedules", async () => {
  const agent = await makeAgent();
  const schedule = { type: "recurring", cron_expression: "0 9 * * *" };
  const made = await client.agents.schedule.create(agent.id, { messages: user("morning"), schedule });
  const { scheduled_messages } = await client.agents.schedule.list(agent.id);
  assert.deepEqual(ids(scheduled_messages), [made.id]);
  const read = await client.agents.schedule.retrieve(made.id, { agent_id: agent.id });
  assert.deepEqual([read.message.messages[0].content, read.schedule], ["morning", schedule]);
  const text = word();
  const soon = { type: "one-time", scheduled_at: Date.now() + 200 };
  await client.agents.schedule.create(agent.id, { messages: user(replyWith(text)), schedule: soon });
  await until(() => collect(client.agents.messages.list(agent.id)), (all) => texts(all).includes(text));
  assert.ok((await client.agents.schedule.delete(made.id, { agent_id: agent.id })).success);
});

test("templates", async () => {
  const agent = await makeAgent(REHEARSED, { system: "You know {{name}}.", include_base_tools: false });
  const name = word("template");
  const template = await client.templates.create({ type: "agent", agent_id: agent.id, name });
  assert.deepEqual([template.name, template.latest_version], [name, "1"]);
  const deployed = await client.templates.agents.create(`${name}:1`, { memory_variables: { name: "Ada" } });
  const made = await client.agents.retrieve(deployed.agent_ids[0], { include: ["agent.blocks"] });
  assert.deepEqual([made.system, made.base_template_id, made.blocks[0].value], ["You know Ada.", template.id, "H"]);
  const changed = await client.agents.update(agent.id, { system: "You are {{name}}." });
  const exported = await client.agents.exportFile(changed.id);
  const file = typeof exported === "string" ? JSON.parse(exported) : exported;
  assert.ok((await client.templates.update(name, { agent_file_json: file })).success);
  assert.equal((await client.templates.save(name, { message: "m", migrate_agents: true })).latest_version, "2");
  assert.equal((await client.agents.retrieve(made.id)).system, "You are Ada.");
  assert.ok((await client.templates.rollback(name, { version: "1" })).success);
  await client.agents.delete(made.id);
  assert.ok((await client.templates.delete(name)).success);
});

test("groups, batches and providers, for which there are no methods", async () => {
  const [one, two, text] = [await makeAgent(), await makeAgent(), word()];
  const group = await client.post("/v1/groups/", { body: { agent_ids: [one.id, two.id], description: "d" } });
  const reply = await client.post(`/v1/groups/${group.id}/messages`, { body: { messages: user(replyWith(text)) } });
  assert.deepEqual(texts(reply.messages), [text, text]);
  assert.deepEqual(ids(await client.get("/v1/groups/", { query: { limit: 1, order: "desc" } })), [group.id]);
  await client.delete(`/v1/groups/${group.id}`);
  const requests = [{ agent_id: one.id, messages: user(replyWith(text)) }];
  const batch = await client.post("/v1/messages/batches", { body: { requests } });
  await until(() => client.get(`/v1/messages/batches/${batch.id}`), (seen) => seen.status === "completed");
  const { messages } = await client.get(`/v1/messages/batches/${batch.id}/messages`);
  assert.ok(JSON.stringify(messages).includes(text));
  const body = { name: word("provider"), provider_type: "openai", api_key: "sk-x" };
  const provider = await client.post("/v1/providers/", { body });
  assert.deepEqual([provider.name, provider.id.startsWith("provider-")], [body.name, true]);
  await client.delete(`/v1/providers/${provider.id}`);
});
