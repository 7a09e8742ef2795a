// Asks by OpenAI's client for Node, and prints what came of it as JSON.
import OpenAI from "openai";

const client = new OpenAI({ apiKey: "any", baseURL: process.argv[2] });
const messages = [{ role: "user", content: "Why is the sky blue?" }];
const whole = await client.chat.completions.create({ model: "hasten", messages });
const stream = await client.chat.completions.create({ model: "hasten", messages, stream: true });
let text = "";
let last;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta.content ?? "";
  last = chunk;
}
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let refused;
try {
  await client.chat.completions.create({ model: "gpt-4o", messages });
} catch (error) {
  refused = { kind: error.constructor.name, code: error.code };
}
console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    text,
    finish: last.choices[0].finish_reason,
    run: last.hasten.run_id,
    models,
    refused,
  }),
);
