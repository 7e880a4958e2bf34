// The Vercel AI SDK with the official provider, unmodified, talks with an agent.
// BASE_URL names the server. The provider brings the TypeScript client of the generation before 1.0.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { convertToAiSdkMessage, createLetta } from "@letta-ai/vercel-ai-sdk-provider";
import { generateText, streamText } from "ai";

const letta = createLetta({ baseUrl: process.env.BASE_URL, token: "anything" });
const made = [];

after(async () => {
  for (const id of made) await letta.client.agents.delete(id);
});

async function makeAgent() {
  const memoryBlocks = [{ label: "human", value: "H" }];
  const agent = await letta.client.agents.create({ model: "openai/gpt-4o-mini", memoryBlocks });
  made.push(agent.id);
  return agent;
}

const word = (name = "m") => `${name}-${randomUUID().slice(0, 8)}`;
const ask = (agent, prompt, options = {}, more = {}) => ({
  model: letta(),
  providerOptions: { letta: { agent: { id: agent.id, ...options } } },
  prompt,
  ...more,
});
const tools = { memory_insert: letta.tool("memory_insert") };

async function collect(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

test("text is generated", async () => {
  const [agent, text] = [await makeAgent(), word()];
  const result = await generateText(ask(agent, `Reply with the message '${text}'`));
  assert.deepEqual([result.text, result.finishReason], [text, "stop"]);
});

for (const options of [{}, { background: true, includePings: true }, { streamTokens: true }]) {
  test(`text is streamed ${JSON.stringify(options)}`, async () => {
    const [agent, text] = [await makeAgent(), "alpha beta gamma"];
    const parts = await collect(streamText(ask(agent, `Reply with the message '${text}'`, options)).fullStream);
    const deltas = parts.filter((one) => one.type === "text-delta").map((one) => one.text);
    assert.equal(deltas.join(""), text);
    assert.deepEqual([parts[0].type, parts.at(-1).type, parts.at(-1).finishReason], ["start", "finish", "stop"]);
    assert.deepEqual(parts.filter((one) => one.type === "error"), []);
  });
}

test("a tool of the agent is called, and its call and result are shown", async () => {
  const [agent, fact] = [await makeAgent(), word("fact")];
  const prompt = `Call the memory_insert tool with label 'human' and new_string '${fact}'`;
  const parts = await collect(streamText(ask(agent, prompt, {}, { tools })).fullStream);
  const call = parts.find((one) => one.type === "tool-call");
  assert.deepEqual([call.toolName, call.input], ["memory_insert", { label: "human", new_string: fact }]);
  const result = parts.find((one) => one.type === "tool-result" && one.toolCallId === call.toolCallId);
  assert.ok(result.output.includes(fact));
  assert.ok((await letta.client.agents.blocks.retrieve(agent.id, "human")).value.includes(fact));
});

test("a history becomes messages of the user interface", async () => {
  const [agent, text] = [await makeAgent(), word()];
  await generateText(ask(agent, `Reply with the message '${text}'`));
  const shown = convertToAiSdkMessage(await letta.client.agents.messages.list(agent.id, { order: "asc" }));
  const said = shown.map((one) => [one.role, one.parts.map((part) => part.text).join("")]);
  assert.deepEqual(said.slice(-2), [["user", `Reply with the message '${text}'`], ["assistant", text]]);
});

test("an unknown agent is an error of the call", async () => {
  const agent = { id: "agent-00000000-0000-4000-8000-000000000000" };
  await assert.rejects(generateText(ask(agent, "x", {}, { maxRetries: 0 })), /not found/i);
});
