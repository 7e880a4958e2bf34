// What the cases of the official client share: the client, agents that are deleted in the end, words, waiting.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after } from "node:test";
import Letta, { NotFoundError } from "@letta-ai/letta-client";

export const client = new Letta({ baseURL: process.env.BASE_URL, apiKey: "anything", maxRetries: 0, timeout: 60_000 });
export const HANDLES = ["kelpie/rehearsed", "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"];
export const UNKNOWN = "00000000-0000-4000-8000-000000000000";
const made = [];

after(async () => {
  for (const id of made) {
    await client.agents.delete(id).catch((error) => assert.ok(error instanceof NotFoundError, String(error)));
  }
});

export async function makeAgent(model = HANDLES[0], fields = {}) {
  const agent = await client.agents.create({ model, memory_blocks: [{ label: "human", value: "H" }], ...fields });
  made.push(agent.id);
  return agent;
}

export const word = (name = "m") => `${name}-${randomUUID().slice(0, 8)}`;
export const replyWith = (text) => `Reply with the message '${text}'`;
export const user = (text) => [{ role: "user", content: text }];
export const texts = (messages) => messages.filter((one) => one.message_type === "assistant_message").map((one) => one.content);
export const kinds = (messages) => messages.map((one) => one.message_type).filter((kind) => kind !== "reasoning_message");

export async function collect(items) {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
}

export async function until(look, enough) {
  for (let tries = 0; tries < 200; tries += 1) {
    const seen = await look();
    if (enough(seen)) return seen;
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.fail("waited 10 s in vain");
}
