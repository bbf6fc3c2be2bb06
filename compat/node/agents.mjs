// Clients and agents of npm against a running server: a turn, a stream, a tool loop, a structured answer each.
//
//   node agents.mjs http://127.0.0.1:8080 MODEL [GROUP ...]
//
// Groups: ai, anthropic, openai, langchain, codex, opencode. Small models call tools when they must, so calls are required
// where a client can say so.
import { spawnSync } from "node:child_process";
import { mkdtempSync, mkdirSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { z } from "zod";

const [base, model, ...only] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const results = { passed: 0, failed: [], left: [] };

async function check(name, body) {
  const begun = Date.now();
  try {
    await body();
    results.passed += 1;
    console.log(`ok      ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (error) {
    results.failed.push(name);
    console.log(`FAILED  ${name}: ${String(error?.stack ?? error).slice(0, 900)}`);
  }
}

const City = z.object({ name: z.string().max(20), large: z.boolean() });
const groups = {};

groups.ai = async () => {
  const { generateText, streamText, generateObject, tool, stepCountIs } = await import("ai");
  const { createOpenAI } = await import("@ai-sdk/openai");
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  const openai = createOpenAI({ baseURL: `${base}/v1`, apiKey: "none" });
  const compatible = createOpenAICompatible({ name: "here", baseURL: `${base}/v1`, supportsStructuredOutputs: true, includeUsage: true });
  const anthropic = createAnthropic({ baseURL: `${base}/v1`, apiKey: "none" });
  const models = {
    "openai (responses)": openai(model), "openai (chat)": openai.chat(model),
    "openai-compatible": compatible(model), anthropic: anthropic(model),
  };
  const weather = tool({ description: "The weather of a city.", inputSchema: z.object({ city: z.string().max(20) }), execute: async () => "It rains." });
  const clock = tool({ description: "The time.", inputSchema: z.object({}), execute: async () => "Noon." });
  for (const [name, llm] of Object.entries(models)) {
    const common = { model: llm, maxOutputTokens: 96, temperature: 0, maxRetries: 0 };
    await check(`ai, ${name}: turn`, async () => {
      const { text } = await generateText({ ...common, prompt: "Name a colour." });
      assert.ok(text.length > 0);
    });
    await check(`ai, ${name}: stream`, async () => {
      let text = "";
      const stream = streamText({ ...common, prompt: "Name a colour.", onError: ({ error }) => { throw error; } });
      for await (const part of stream.textStream) text += part;
      assert.ok(text.length > 0 && (await stream.usage).outputTokens > 0);
    });
    await check(`ai, ${name}: tool loop`, async () => {
      let step = 0;
      const { steps } = await generateText({
        ...common, prompt: "The weather in Bern?", tools: { weather, clock }, stopWhen: stepCountIs(2),
        prepareStep: () => ({ toolChoice: step++ === 0 ? { type: "tool", toolName: "weather" } : "auto" }),
      });
      assert.ok(steps.length === 2 && steps[0].toolResults.length > 0, JSON.stringify(steps[0]?.content));
    });
    await check(`ai, ${name}: structured answer`, async () => {
      const { object } = await generateObject({ ...common, schema: City, prompt: "Describe Bern." });
      City.parse(object);
    });
  }
};

groups.anthropic = async () => {
  const { default: Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: base, apiKey: "none", maxRetries: 0 });
  const messages = [{ role: "user", content: "The weather in Bern?" }];
  const common = { model, max_tokens: 64, temperature: 0 };
  await check("@anthropic-ai/sdk: turn and stream", async () => {
    const whole = await client.messages.create({ ...common, messages });
    const streamed = await client.messages.stream({ ...common, messages }).finalMessage();
    assert.equal(streamed.content[0].text, whole.content[0].text);
  });
  await check("@anthropic-ai/sdk: tool runner", async () => {
    const { betaZodTool } = await import("@anthropic-ai/sdk/helpers/beta/zod");
    const weather = betaZodTool({ name: "weather", description: "The weather.", inputSchema: z.object({ city: z.string().max(20) }), run: async () => "It rains." });
    const runner = client.beta.messages.toolRunner({ ...common, messages, tools: [weather], tool_choice: { type: "any" }, max_iterations: 2 });
    let called = false;
    for await (const message of runner) called ||= message.content.some(block => block.type === "tool_use");
    assert.ok(called);
  });
  await check("@anthropic-ai/sdk: structured answer", async () => {
    const format = { type: "json_schema", schema: { type: "object", properties: { large: { type: "boolean" } }, required: ["large"], additionalProperties: false } };
    const answer = await client.messages.create({ ...common, messages, output_config: { format } });
    assert.equal(typeof JSON.parse(answer.content[0].text).large, "boolean");
  });
  await check("@anthropic-ai/sdk: models", async () => {
    const names = [];
    for await (const entry of client.models.list()) names.push(entry.id);
    assert.ok(names.includes(model));
  });
};

groups.openai = async () => {
  const { default: OpenAI } = await import("openai");
  const { zodResponseFormat } = await import("openai/helpers/zod");
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "none", maxRetries: 0 });
  const messages = [{ role: "user", content: "The weather in Bern?" }];
  const common = { model, temperature: 0, max_tokens: 64 };
  await check("openai: turn and stream", async () => {
    const whole = await client.chat.completions.create({ ...common, messages });
    let text = "";
    for await (const chunk of await client.chat.completions.create({ ...common, messages, stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, whole.choices[0].message.content);
  });
  await check("openai: runTools", async () => {
    let called = 0;
    const tool = { type: "function", function: { name: "weather", description: "The weather.", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }, parse: JSON.parse, function: async () => { called += 1; return "It rains."; } } };
    const runner = client.chat.completions.runTools({ ...common, messages, tools: [tool], tool_choice: { type: "function", function: { name: "weather" } } });
    await runner.finalMessage();
    assert.equal(called, 1);
  });
  await check("openai: structured answer", async () => {
    const answer = await client.chat.completions.parse({ ...common, messages, response_format: zodResponseFormat(City, "city") });
    City.parse(answer.choices[0].message.parsed);
  });
  await check("openai: responses, whole and streamed", async () => {
    const whole = await client.responses.create({ model, temperature: 0, max_output_tokens: 24, input: "Name a colour." });
    let text = "";
    for await (const event of await client.responses.create({ model, temperature: 0, max_output_tokens: 24, input: "Name a colour.", stream: true })) if (event.type === "response.output_text.delta") text += event.delta;
    assert.equal(text, whole.output_text);
  });
};

groups.langchain = async () => {
  const { ChatOpenAI } = await import("@langchain/openai");
  const { HumanMessage, ToolMessage } = await import("@langchain/core/messages");
  const llm = new ChatOpenAI({ model, apiKey: "none", temperature: 0, maxTokens: 96, maxRetries: 0, configuration: { baseURL: `${base}/v1` } });
  await check("@langchain/openai: turn and stream", async () => {
    const whole = (await llm.invoke("Name a colour.")).content;
    let text = "";
    for await (const chunk of await llm.stream("Name a colour.")) text += chunk.content;
    assert.equal(text, whole);
  });
  await check("@langchain/openai: tool loop", async () => {
    const tools = [{ type: "function", function: { name: "weather", description: "The weather.", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];
    const question = new HumanMessage("The weather in Bern?");
    const asked = await llm.bindTools(tools, { tool_choice: "required" }).invoke([question]);
    const [call] = asked.tool_calls;
    const answer = await llm.bindTools(tools).invoke([question, asked, new ToolMessage({ content: "It rains.", tool_call_id: call.id })]);
    assert.ok(answer);
  });
  await check("@langchain/openai: structured answer", async () => {
    City.parse(await llm.withStructuredOutput(City, { method: "jsonSchema" }).invoke("Describe Bern."));
  });
};

function run(program, args, options, cut = false) {
  const ended = spawnSync(program, args, { encoding: "utf8", timeout: 600_000, input: "", ...options });
  // A small model writes until its limit: an answer that is cut off is one.
  if (cut && /reason: max_output_tokens/.test(ended.stdout)) return ended.stdout;
  assert.equal(ended.status, 0, `${ended.error ?? ""}${ended.stdout}${ended.stderr}`.slice(-1200));
  return ended.stdout;
}

groups.codex = async () => {
  const program = join(here, "node_modules/.bin/codex");
  if (!existsSync(program)) return void results.left.push("codex");
  const home = mkdtempSync(join(here, "node_modules/.codex-"));
  const lines = [
    `model = "${model}"`, `model_provider = "here"`, `approval_policy = "never"`, `sandbox_mode = "read-only"`,
    `[model_providers.here]`, `name = "here"`, `base_url = "${base}/v1"`, `wire_api = "responses"`, `request_max_retries = 0`, `stream_max_retries = 0`,
  ];
  writeFileSync(join(home, "config.toml"), lines.join("\n"));
  const options = { cwd: home, env: { ...process.env, CODEX_HOME: home } };
  await check("codex: a turn", () => {
    const said = run(program, ["exec", "--skip-git-repo-check", "--json", "Say yes."], options, true);
    assert.match(said, /agent_message|max_output_tokens/);
  });
  await check("codex: a structured answer", () => {
    const schema = { type: "object", properties: { large: { type: "boolean" } }, required: ["large"], additionalProperties: false };
    writeFileSync(join(home, "schema.json"), JSON.stringify(schema));
    const last = join(home, "last.txt");
    const said = run(program, ["exec", "--skip-git-repo-check", "--json", "--output-schema", "schema.json", "-o", last, "Is Bern large?"], options, true);
    assert.match(said, /turn\.(completed|failed)/);
  });
};

groups.opencode = async () => {
  const program = join(here, "node_modules/.bin/opencode");
  if (!existsSync(program)) return void results.left.push("opencode");
  const home = mkdtempSync(join(tmpdir(), "opencode-"));
  mkdirSync(join(home, "work"));
  const provider = { npm: "@ai-sdk/openai-compatible", name: "here", options: { baseURL: `${base}/v1`, apiKey: "none" }, models: { [model]: { name: model, tool_call: true, limit: { context: 32768, output: 256 } } } };
  writeFileSync(join(home, "work/opencode.json"), JSON.stringify({ $schema: "https://opencode.ai/config.json", provider: { here: provider }, model: `here/${model}`, autoupdate: false, share: "disabled" }));
  const env = { ...process.env, HOME: home, XDG_CONFIG_HOME: join(home, "c"), XDG_DATA_HOME: join(home, "d"), XDG_CACHE_HOME: join(home, "e"), OPENCODE_DISABLE_AUTOUPDATE: "1", OPENCODE_DISABLE_MODELS_FETCH: "1" };
  await check("opencode: a turn", () => {
    run(program, ["run", "--model", `here/${model}`, "Say yes."], { cwd: join(home, "work"), env });
  });
};

for (const name of only.length ? only : Object.keys(groups)) await groups[name]();
const { passed, failed, left } = results;
console.log(`node: ${passed} passed, ${failed.length} failed, ${left.length} left out` + (failed.length ? ` (failed: ${failed.join("; ")})` : "") + (left.length ? ` (left out: ${left.join(", ")})` : ""));
process.exit(failed.length || !passed ? 1 : 0);
