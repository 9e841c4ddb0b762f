/** @file Pipelines and what they name: documents, files of prompts, configurations of servers. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readWorkflow } from "#laurel/backends/comfyui/workflow";
import { loadBackendConfig } from "#laurel/backends/load-config";
import { loadPipeline } from "#laurel/pipeline/document/load";
import { MAXIMUM_PROMPT, readPrompts } from "#laurel/prompts/prompt-file";
import type { Target } from "./engine.js";
import { mutateJson, mutateLines } from "./mutate.js";
import { json } from "./seeds.js";

const DOCUMENT = `version: 1
variables: &v { n: 4, style: [oil, ink], t: "\${prompt} in \${matrix.style}", m: "\${n}" }
name: fuzz-\${n}
use: part.yaml
prompts:
  - { id: one, prompt: a red circle, negative: none }
  - a blue square, $\${5}
template: \${t}
matrix: { style: "\${style}", guidance: [1, 2.5], sampler: [ddim, euler] }
settings: { steps: 4, promptSyntax: a1111, clipSkip: 1 }
backend: { backend: openai, url: ["http://a", "http://b"], key: { env: KEY }, price: { perImage: 0.1, currency: EUR } }
seed: 7
budget: { candidates: 100, seconds: 1e3 }
steps:
  - generate: { count: "\${m}", until: { score: 0.5, images: 2 } }
  - score:
  - select: &s { keep: 2, minimum: -1 }
  - img2img: { count: 2, strength: 0.5 }
  - score:
  - select: *s
  - export: { to: "best/\${id}-\${matrix.style}", what: all, format: csv }
`;

const WORKFLOW = {
  "3": { class_type: "KSampler", inputs: { seed: "{{seed}}", steps: 20, model: ["4", 0] }, _meta: { title: "K" } },
  "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: "photo of {{prompt}}", clip: ["4", 1] } },
  "9": { class_type: "SaveImage", inputs: { images: ["3", 0], filename_prefix: "x" } },
};

const FORMATS = ["txt", "csv", "jsonl", "json"] as const;

/** @param folder for their files */
export function pipelineTargets(folder: string): Target[] {
  const place = join(folder, "pipeline");
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, "part.yaml"), "settings: { width: 64 }\nseeds: distinct\n");
  const file = (name: string, input: Buffer): string => {
    const path = join(place, name);
    writeFileSync(path, input);
    return path;
  };
  return [
    {
      name: "pipeline",
      seeds: () => [Buffer.from(DOCUMENT)],
      mutate: mutateLines,
      run: async (input) => {
        const { items, steps } = await loadPipeline(file("p.yaml", input));
        const wrong = items.find(
          ({ drawn, index }, i) => drawn.trim() === "" || drawn.length > MAXIMUM_PROMPT || index !== i,
        );
        if (wrong !== undefined || new Set(items.map(({ id }) => id)).size < items.length)
          throw new Error(`items that are none: ${JSON.stringify(wrong)}`);
        return `${Math.min(items.length, 9)} items, ${steps.length} steps`;
      },
    },
    {
      name: "prompts",
      seeds: () => [
        Buffer.from("a red circle\n\na blue square\n"),
        Buffer.from('id,prompt,negative\nx,"a ""red""\ncircle",none\ny,b,\n'),
        Buffer.from('"a"\n{ "text": "b", "id": 7 }\n'),
        json([{ text: "a", image_path: "x.webp" }, "b"]),
      ],
      mutate: mutateLines,
      run: async (input) => {
        const path = file("prompts", input);
        const read = FORMATS.map((format) =>
          readPrompts({ file: path, format }).then(
            (entries) => {
              if (entries.some(({ prompt }) => prompt.trim() === "")) throw new TypeError("an empty prompt");
              return entries.length > 0;
            },
            (error: unknown) => error,
          ),
        );
        const answers = await Promise.all(read);
        const refused = answers.filter((answer) => answer !== true);
        // the engine looks at one error; the others must be expected, too
        if (refused.length === FORMATS.length) throw refused[0];
        const strange = refused.find((answer) => !(answer instanceof Error && "exitCode" in answer));
        if (strange !== undefined) throw strange;
        return answers.map((answer) => (answer === true ? "1" : "0")).join("");
      },
    },
    {
      name: "backend-yaml",
      seeds: () => [
        Buffer.from(
          "# forge\nbackend: webui\nurl: [http://127.0.0.1:7860]\npassword: { file: x }\nrate: { requests: 1, perSeconds: 2 }\n",
        ),
        Buffer.from("backend: folder\npath: [a, b/*.png]\nprompts: any\n"),
      ],
      mutate: mutateLines,
      run: async (input) => (await loadBackendConfig(file("b.yaml", input))).backend,
    },
    {
      name: "comfyui-workflow",
      seeds: () => [
        json(WORKFLOW),
        json({ ...WORKFLOW, "9": { class_type: "PreviewImage", inputs: { images: ["3", 0] } } }),
      ],
      mutate: mutateJson,
      run: async (input) => {
        const template = await readWorkflow(file("workflow.json", input), { slots: { steps: "3.steps" } });
        const graph = JSON.stringify(template.fill({ prompt: "a {{seed}} cat", seed: 123_456, steps: 7 }));
        if (!graph.includes("123456") || !graph.includes("a {{seed}} cat")) throw new Error(`not filled in: ${graph}`);
        return [...template.places.keys()].join();
      },
    },
  ];
}
