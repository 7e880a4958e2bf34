// Every method that the official TypeScript client has is called and succeeds, but for those left out on purpose.
// The last test asks the client which methods it has, so a new one is missed by nobody.

import assert from "node:assert/strict";
import { test } from "node:test";
import { toFile } from "@letta-ai/letta-client";
import { HANDLES, client, collect, kinds, makeAgent, replyWith, texts, until, user, word } from "./talk.js";
import "./talks.js";

const LEFT_OUT = ["environments.list", "environments.retrieve", "environments.sendMessage"];
const [REHEARSED, OPENAI] = HANDLES;
const succeeded = new Set();

// Every method of a resource and of the resources in it, by its path.
function* methods(resource, path = "") {
  const own = Object.getPrototypeOf(resource);
  for (const name of Object.getOwnPropertyNames(own)) {
    if (name !== "constructor") yield [path + name, own, name];
  }
  for (const [name, value] of Object.entries(resource)) {
    if (value?._client) yield* methods(value, `${path}${name}.`);
  }
}

function* clientMethods() {
  for (const [name, value] of Object.entries(client)) if (value?._client) yield* methods(value, `${name}.`);
}

for (const [path, own, name] of clientMethods()) {
  const method = own[name];
  own[name] = function (...given) {
    const promise = method.apply(this, given);
    promise.then(() => succeeded.add(path), () => {});
    return promise;
  };
}

const ids = (items) => items.map((one) => one.id);
const ended = (run) => until(() => client.runs.retrieve(run.id), (one) => one.status === "completed");

test("tags and models of embeddings", async () => {
  const tag = word("tag");
  await makeAgent(REHEARSED, { tags: [tag] });
  assert.ok((await client.tags.list()).includes(tag));
  const found = await client.models.embeddings.list();
  assert.ok(found.length > 0 && found.every((one) => one.embedding_dim > 0));
  assert.ok((await client.models.list()).length >= HANDLES.length);
});

test("agents", async () => {
  const agent = await makeAgent();
  assert.equal((await client.agents.update(agent.id, { name: "n" })).name, "n");
  assert.equal((await client.agents.retrieve(agent.id)).name, "n");
  assert.ok(ids(await collect(client.agents.list())).includes(agent.id));
  assert.equal(typeof (await client.agents.recompile(agent.id)), "string");
  const file = await client.agents.exportFile(agent.id);
  const text = typeof file === "string" ? file : JSON.stringify(file);
  const copies = await client.agents.importFile({ file: await toFile(Buffer.from(text), "agent.af") });
  assert.equal(copies.agent_ids.length, 1);
  const copy = await client.agents.retrieve(copies.agent_ids[0]);
  assert.deepEqual(copy.blocks.map((one) => [one.label, one.value]), [["human", "H"]]);
  await client.agents.delete(copy.id);
});

test("runs and steps", async () => {
  const [agent, text] = [await makeAgent(OPENAI), word()];
  const run = await client.agents.messages.createAsync(agent.id, { messages: user(replyWith(text)) });
  assert.equal((await ended(run)).stop_reason, "end_turn");
  assert.deepEqual(ids(await collect(client.runs.list({ agent_id: agent.id }))), [run.id]);
  assert.deepEqual(texts(await collect(client.runs.messages.list(run.id))), [text]);
  assert.deepEqual(texts(await collect(await client.runs.messages.stream(run.id, { starting_after: 0 }))), [text]);
  assert.ok((await client.runs.usage.retrieve(run.id)).total_tokens > 0);
  assert.ok((await client.runs.trace.retrieve(run.id)) !== undefined);
  const [step] = await collect(client.runs.steps.list(run.id));
  assert.deepEqual(ids(await collect(client.steps.list({ agent_id: agent.id }))), [step.id]);
  assert.equal((await client.steps.retrieve(step.id)).run_id, run.id);
  assert.equal((await client.steps.metrics.retrieve(step.id)).id, step.id);
  assert.ok(JSON.stringify(await client.steps.trace.retrieve(step.id)).includes(text));
  assert.ok(texts(await collect(client.steps.messages.list(step.id))).includes(text));
  assert.equal((await client.steps.feedback.create(step.id, { feedback: "positive" })).feedback, "positive");
});

test("blocks", async () => {
  const agent = await makeAgent();
  const block = await client.blocks.create({ label: word("b"), value: "v" });
  assert.equal((await client.blocks.update(block.id, { value: "w" })).value, "w");
  assert.equal((await client.blocks.retrieve(block.id)).value, "w");
  assert.deepEqual(ids(await collect(client.blocks.list({ label: block.label }))), [block.id]);
  await client.agents.blocks.attach(block.id, { agent_id: agent.id });
  assert.deepEqual(ids(await collect(client.blocks.agents.list(block.id))), [agent.id]);
  await client.agents.blocks.update(block.label, { agent_id: agent.id, value: "x" });
  assert.equal((await client.agents.blocks.retrieve(block.label, { agent_id: agent.id })).value, "x");
  assert.ok(ids(await collect(client.agents.blocks.list(agent.id))).includes(block.id));
  await client.agents.blocks.detach(block.id, { agent_id: agent.id });
  await client.blocks.delete(block.id);
});

test("tools", async () => {
  const agent = await makeAgent();
  const name = word("double").replaceAll("-", "_");
  const source = `def ${name}(number: int) -> int:\n    """Doubles.\n\n    Args:\n        number (int): What.\n    """\n    return `;
  const tool = await client.tools.create({ source_code: `${source}number * 3\n` });
  assert.equal(tool.name, name);
  assert.equal((await client.tools.upsert({ source_code: `${source}number * 2\n` })).id, tool.id);
  assert.equal((await client.tools.retrieve(tool.id)).source_code, `${source}number * 2\n`);
  assert.deepEqual((await client.tools.update(tool.id, { tags: ["t"] })).tags, ["t"]);
  assert.deepEqual(ids(await collect(client.tools.list({ name }))), [tool.id]);
  assert.ok((await client.tools.search({ query: name })).some((one) => one.tool.id === tool.id));
  await client.agents.tools.attach(tool.id, { agent_id: agent.id });
  assert.ok(ids(await collect(client.agents.tools.list(agent.id))).includes(tool.id));
  const result = await client.agents.tools.run(name, { agent_id: agent.id, args: { number: 21 } });
  assert.deepEqual([result.status, String(result.func_return)], ["success", "42"]);
  await client.agents.tools.updateApproval(name, { agent_id: agent.id, body_requires_approval: true });
  const call = `Call the ${name} tool with number=4`;
  const asked = await client.agents.messages.create(agent.id, { input: call });
  assert.equal(asked.stop_reason.stop_reason, "requires_approval");
  const request = asked.messages.find((one) => one.message_type === "approval_request_message");
  const approval = { type: "approval", tool_call_id: request.tool_call.tool_call_id, approve: true };
  const reply = await client.agents.messages.create(agent.id, { messages: [{ type: "approval", approvals: [approval] }] });
  assert.deepEqual(kinds(reply.messages).slice(-2), ["tool_return_message", "assistant_message"]);
  await client.agents.tools.detach(tool.id, { agent_id: agent.id });
  await client.tools.delete(tool.id);
});

test("servers of tools", async () => {
  const [command, ...args] = JSON.parse(process.env.MCP_COMMAND);
  const config = { mcp_server_type: "stdio", command, args };
  const server = await client.mcpServers.create({ server_name: word("mcp"), config });
  assert.equal((await client.mcpServers.retrieve(server.id)).server_name, server.server_name);
  assert.ok(ids(await client.mcpServers.list()).includes(server.id));
  await client.mcpServers.refresh(server.id);
  const tools = await client.mcpServers.tools.list(server.id);
  const echo = tools.find((one) => one.name === process.env.MCP_TOOL);
  assert.equal((await client.mcpServers.tools.retrieve(echo.id, { mcp_server_id: server.id })).id, echo.id);
  const args_ = JSON.parse(process.env.MCP_ARGS);
  const result = await client.mcpServers.tools.run(echo.id, { mcp_server_id: server.id, args: args_ });
  assert.equal(result.status, "success");
  const changed = await client.mcpServers.update(server.id, { server_name: word("mcp"), config });
  assert.equal(changed.id, server.id);
  await client.mcpServers.delete(server.id);
});

test("archives and passages", async () => {
  const [agent, fact] = [await makeAgent(), word("fact")];
  const archive = await client.archives.create({ name: word("archive") });
  assert.equal((await client.archives.retrieve(archive.id)).name, archive.name);
  assert.equal((await client.archives.update(archive.id, { description: "d" })).description, "d");
  assert.ok(ids(await collect(client.archives.list())).includes(archive.id));
  await client.agents.archives.attach(archive.id, { agent_id: agent.id });
  const one = await client.archives.passages.create(archive.id, { text: fact, tags: ["t"] });
  const many = await client.archives.passages.createMany(archive.id, { passages: [{ text: "a" }, { text: "b" }] });
  assert.deepEqual(many.map((each) => each.text), ["a", "b"]);
  assert.ok(JSON.stringify(await client.passages.search({ query: fact, archive_id: archive.id })).includes(fact));
  const [own] = await client.agents.passages.create(agent.id, { text: `own ${fact}` });
  assert.ok(ids(await client.agents.passages.list(agent.id)).includes(own.id));
  assert.ok((await client.agents.passages.search(agent.id, { query: fact })).count > 0);
  await client.agents.passages.delete(own.id, { agent_id: agent.id });
  await client.archives.passages.delete(one.id, { archive_id: archive.id });
  await client.agents.archives.detach(archive.id, { agent_id: agent.id });
  await client.archives.delete(archive.id);
});

test("folders and files", async () => {
  const [agent, fact] = [await makeAgent(), word("fact")];
  const folder = await client.folders.create({ name: word("folder") });
  assert.equal((await client.folders.retrieve(folder.id)).name, folder.name);
  assert.equal((await client.folders.update(folder.id, { description: "d" })).description, "d");
  assert.ok(ids(await collect(client.folders.list())).includes(folder.id));
  await client.agents.folders.attach(folder.id, { agent_id: agent.id });
  const sent = await toFile(Buffer.from(`# Title\n\n${fact}\n`), "note.md");
  const file = await client.folders.files.upload(folder.id, { file: sent });
  const read = () => client.folders.files.retrieve(file.id, { folder_id: folder.id });
  await until(read, (one) => one.processing_status === "completed");
  assert.deepEqual(ids(await collect(client.folders.files.list(folder.id))), [file.id]);
  assert.ok((await client.folders.agents.list(folder.id)).includes(agent.id));
  assert.deepEqual(ids(await collect(client.agents.folders.list(agent.id))), [folder.id]);
  await client.agents.files.open(file.id, { agent_id: agent.id });
  const opened = async () => (await collect(client.agents.files.list(agent.id, { is_open: true }))).length;
  assert.equal(await opened(), 1);
  await client.agents.files.close(file.id, { agent_id: agent.id });
  assert.equal(await opened(), 0);
  await client.agents.files.closeAll(agent.id);
  await client.agents.folders.detach(folder.id, { agent_id: agent.id });
  await client.folders.files.delete(file.id, { folder_id: folder.id });
  await client.folders.delete(folder.id);
});

test("identities of an agent", async () => {
  const agent = await makeAgent();
  const body = { identifier_key: word("key"), name: "Ada", identity_type: "user" };
  const identity = await client.post("/v1/identities/", { body });
  await client.agents.identities.attach(identity.id, { agent_id: agent.id });
  const attached = async () => (await client.agents.retrieve(agent.id)).identities.map((one) => one.id);
  assert.deepEqual(await attached(), [identity.id]);
  await client.agents.identities.detach(identity.id, { agent_id: agent.id });
  assert.deepEqual(await attached(), []);
});

test("access tokens", async () => {
  const agent = await makeAgent();
  const policy = [{ type: "agent", id: agent.id, access: ["read_messages", "write_messages"] }];
  const made = await client.accessTokens.create({ hostname: "https://page.example", policy });
  assert.deepEqual(made.policy.data, policy);
  const { tokens } = await client.accessTokens.list({ agentId: agent.id });
  assert.deepEqual(tokens.map((one) => one.hostname), ["https://page.example"]);
  await client.accessTokens.delete(made.token);
});

test("nothing that the client can do was missed", () => {
  const every = [...clientMethods()].map(([path]) => path);
  assert.equal(every.length, 128);
  assert.deepEqual(every.filter((path) => !succeeded.has(path)).sort(), LEFT_OUT);
});
