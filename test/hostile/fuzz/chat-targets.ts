/** @file What language models and their servers answer, and their configurations. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadChatConfig } from "#laurel/backends/chat/config";
import { readReply } from "#laurel/backends/chat/reply";
import type { RefineState } from "#laurel/strategies/refine/contract";
import { readAnswer, usableProposals } from "#laurel/strategies/refine/llm-answer";
import type { Target } from "./engine.js";
import { type Mutate, mutateBytes, mutateJson, mutateLines } from "./mutate.js";
import { json } from "./seeds.js";

const STATE: RefineState = { original: "a red circle", promptSyntax: "a1111", history: [], round: 0, seed: 0 };
const COUNT = 4;
/** What no proposed prompt may hold: control characters, and tags that servers act on. */
const HARMFUL = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]|<\/?sd_cpp_extra_args>|<[\p{L}\p{N}_]+:[^>]+>/iu;

const answers = (): Buffer[] => [
  json({ prompts: [{ prompt: "a (red:1.2) disc, round", edit: "shorter" }] }),
  Buffer.from('Here: ```json\n{"prompts": [{"prompt": "dot <lora:x:1>", "edit": ""}], "n": {"a": "}"}}\n```\n'),
  Buffer.from(
    '{"prompts": [{"prompt": "<sd_cpp_<lora:a:1>extra_args>{}</sd_cpp_extra_args> ring\\u001b", "edit": "x\\n"}]}',
  ),
];

const either: Mutate = (input, dice, other) => (dice.below(2) === 0 ? mutateBytes : mutateJson)(input, dice, other);

/** @param folder for their files */
export function chatTargets(folder: string): Target[] {
  return [
    {
      name: "chat-reply",
      seeds: () => [
        json({
          choices: [{ message: { role: "assistant", content: "<think>hm</think>hello" }, finish_reason: "length" }],
          usage: { prompt_tokens: 5, completion_tokens: 7 },
        }),
        json({ choices: [{ message: { content: [{ type: "text", text: "hello" }], refusal: "no" } }] }),
      ],
      mutate: mutateJson,
      run: (input) => {
        let parsed: unknown;
        try {
          parsed = JSON.parse(input.toString("utf8"));
        } catch {
          return "no JSON";
        }
        const reply = readReply(parsed);
        if ("faults" in reply) return reply.faults;
        if (typeof reply.text !== "string" || Number.isNaN(reply.usage?.promptTokens ?? 0)) throw new Error("no reply");
        return reply.finishReason;
      },
    },
    {
      name: "llm-answer",
      seeds: answers,
      mutate: either,
      run: async (input) => {
        const answer = readAnswer(input.toString("utf8"));
        if ("fault" in answer) return answer.fault;
        const { proposals, warnings } = await usableProposals(answer, STATE, COUNT, undefined);
        const wrong = proposals.find(
          ({ prompt, edit }) =>
            prompt.trim() === "" || prompt.length > 10_000 || HARMFUL.test(prompt) || /\p{Cc}/u.test(edit),
        );
        if (wrong !== undefined || proposals.length > COUNT) throw new Error(`harmful: ${JSON.stringify(wrong)}`);
        return `${proposals.length}: ${warnings.join()}`;
      },
    },
    {
      name: "chat-yaml",
      seeds: () => [
        Buffer.from(
          "chat: openai-compatible\nurl: http://a/v1\nkey: { env: KEY }\nextra: { a: 1, b: { c: true } }\nprice: { prompt: 1, completion: 2 }\nbudget: { tokens: 9, money: 0.1 }\n",
        ),
      ],
      mutate: mutateLines,
      run: async (input) => {
        const path = join(folder, "chat.yaml");
        writeFileSync(path, input);
        return (await loadChatConfig(path)).chat;
      },
    },
  ];
}
