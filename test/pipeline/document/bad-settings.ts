/** @file Documents that name what there is not: fragments, exports, samplers, backends, matrices, files, secrets. */

import type { BadDocument } from "./bad-document.js";

export const BAD_SETTINGS: Readonly<Record<string, BadDocument>> = {
  "strategy of another name": {
    yaml: `version: 1
prompts: [a]
steps: [{ generate: { strategy: partcles } }, score:]
`,
    faults: [
      'p.yaml:3:33: steps.0.generate.strategy: expected best-of-n, halving, particles, neighbours, noise-gradient, img2img-loop, refine, got "partcles"; did you mean particles?',
    ],
  },
  "strategy with another option": {
    yaml: `version: 1
prompts: [a]
steps: [{ generate: { strategy: { name: particles, lamda: 3 } } }, score:]
`,
    faults: ["p.yaml:3:52: steps.0.generate.strategy: unknown key lamda; did you mean lambda?"],
  },
  "strategy out of range": {
    yaml: `version: 1
prompts: [a]
steps: [{ generate: { strategy: "particles:eta=2" } }, score:]
`,
    faults: ["p.yaml:3:33: steps.0.generate.strategy: strategy particles: eta: expected at most 1, got 2"],
  },
  "strategy that is a step": {
    yaml: `version: 1
prompts: [a]
steps: [{ generate: { strategy: refine } }, score:]
`,
    faults: [
      "p.yaml:3:33: steps.0.generate.strategy: expected a strategy that draws one prompt, got refine, which is a step of its own",
    ],
  },
  "strategy without scores": {
    yaml: `version: 1
prompts: [a]
steps: [{ generate: { strategy: halving } }]
`,
    faults: [
      "p.yaml:3:9: steps.0: expected score right after generate with the strategy halving, which goes by scores",
    ],
  },
  "fragments in a circle": {
    yaml: `version: 1
use: a.yaml
prompts: [a]
steps: [generate:, score:]
`,
    files: { "a.yaml": "use: b.yaml", "b.yaml": "use: a.yaml" },
    faults: ["b.yaml:1:6: a.yaml needs itself: ./p.yaml -> ./a.yaml -> ./b.yaml -> ./a.yaml"],
  },
  "document that uses itself": {
    yaml: `use: p.yaml
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:1:6: p.yaml needs itself: ./p.yaml -> ./p.yaml"],
  },
  "missing fragment": {
    yaml: `version: 1
use: no.yaml
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:6: use: expected an existing file, got no.yaml (no no.yaml)"],
  },
  "fragment outside configs": {
    yaml: `version: 1
use: configs/../package.json
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:6: use: expected an existing file, got configs/../package.json (no package.json)"],
  },
  "fragment that is a list": {
    yaml: `version: 1
use: l.yaml
prompts: [a]
steps: [generate:, score:]
`,
    files: { "l.yaml": "- 1" },
    faults: ["l.yaml:1:1: expected a mapping, since another file uses it"],
  },
  "use of a number": {
    yaml: `version: 1
use: 3
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:6: use: expected the path of a YAML file, or a list of them"],
  },
  "faults inside a fragment": {
    yaml: `version: 1
settings: {use: s.yaml}
prompts: [a]
steps: [generate:, score:]
`,
    files: { "s.yaml": "steps: 0\nwidht: 8" },
    faults: [
      "s.yaml:1:8: settings.steps: expected at least 1, got 0",
      "s.yaml:2:1: settings: unknown key widht; did you mean width?",
    ],
  },
  "exports that escape": {
    yaml: `version: 1
prompts: [a]
steps:
  - generate:
  - export: {to: ../x}
  - export: {to: /etc}
  - export: {to: a/../..}
  - export: {to: .}
  - export: {to: '\${matrix.x}'}
`,
    faults: [
      "p.yaml:5:18: steps.1.export.to: expected a folder inside the run's folder, got ../x",
      "p.yaml:6:18: steps.2.export.to: expected a folder inside the run's folder, got /etc",
      "p.yaml:7:18: steps.3.export.to: expected a folder inside the run's folder, got a/../..",
      "p.yaml:8:18: steps.4.export.to: expected a folder inside the run's folder, got .",
      "p.yaml:9:18: steps.5.export.to: expected one of id, got ${matrix.x}",
    ],
  },
  "misspelt samplers": {
    yaml: `version: 1
settings: {sampler: dim}
matrix: {sampler: [ddim, eulr]}
prompts: [a]
steps: [generate: {sampler: heunn}]`,
    faults: [
      "p.yaml:2:21: settings.sampler: expected one of {samplers}, got dim; did you mean ddim?",
      "p.yaml:3:19: matrix.sampler: expected a step that takes it, got none: every step that draws says its own sampler",
      "p.yaml:3:26: matrix.sampler.1: expected one of {samplers}, got eulr; did you mean euler?",
      "p.yaml:5:29: steps.0.generate.sampler: expected one of {samplers}, got heunn; did you mean heun?",
    ],
  },
  "misspelt backend": {
    yaml: `version: 1
backend: locl
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:10: backend: expected local, huggingface, webui, comfyui, sdcpp, openai, folder, example-pictures, forge, localai or a YAML file, got locl; did you mean local?",
    ],
  },
  "misspelt kind of backend": {
    yaml: `version: 1
backend: {backend: webiu, url: x}
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      'p.yaml:2:20: backend.backend: expected one of local, webui, comfyui, sdcpp, openai, huggingface, folder, got "webiu"; did you mean webui?',
    ],
  },
  "unknown key of a backend": {
    yaml: `version: 1
backend: {backend: webui, ulr: x}
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:27: backend: unknown key ulr; known are backend, url, user, password, model, scheduler, batch, concurrency, rate, timeout, retries, price",
    ],
  },
  "folder without a path": {
    yaml: `version: 1
backend: folder
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:10: backend: backend folder: expected a configuration file, which says path, got the name alone",
    ],
  },
  "faults in a backend file": {
    yaml: `version: 1
backend: b.yaml
prompts: [a]
steps: [generate:, score:]
`,
    files: { "b.yaml": "backend: webui\nurl: 3" },
    faults: ["b.yaml:2:6: url: expected text or a list, got 3"],
  },
  "missing backend file": {
    yaml: `version: 1
backend: b.yaml
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:10: backend: b.yaml: expected a YAML file, got no such file"],
  },
  "empty matrix list": {
    yaml: `version: 1
matrix: {guidance: [1, x, 101], sampelr: [a], style: [a], steps: [4,4], promptSyntax: [a1112], empty: []}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:103: matrix.empty: expected at least 1 entry, got 0"],
  },
  "wrong matrix values": {
    yaml: `version: 1
matrix: {guidance: [1, x, 101], sampelr: [a], style: [a], steps: [4,4], promptSyntax: [a1112]}
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      'p.yaml:2:24: matrix.guidance.1: expected a number, got "x"',
      "p.yaml:2:27: matrix.guidance.2: expected at most 100, got 101",
      "p.yaml:2:42: matrix.sampelr: expected a setting (negative, promptSyntax, clipSkip, steps, guidance, sampler, width, height, strength, batch, loraScale, loraAnneal) or a name that template uses as ${matrix.sampelr}, got neither; did you mean sampler?",
      "p.yaml:2:54: matrix.style: expected a setting (negative, promptSyntax, clipSkip, steps, guidance, sampler, width, height, strength, batch, loraScale, loraAnneal) or a name that template uses as ${matrix.style}, got neither",
      "p.yaml:2:69: matrix.steps.1: expected each value once, got 4 again",
      'p.yaml:2:88: matrix.promptSyntax.0: expected one of plain, a1111, got "a1112"; did you mean a1111?',
    ],
  },
  "matrix that no step takes": {
    yaml: `version: 1
matrix: {steps: [4,5]}
prompts: [a]
steps: [generate: {steps: 3}]`,
    faults: [
      "p.yaml:2:17: matrix.steps: expected a step that takes it, got none: every step that draws says its own steps",
    ],
  },
  "prompts from the local backend": {
    yaml: `version: 1
prompts: {from: backend}
steps: [generate:]`,
    faults: ["p.yaml:2:17: prompts.from: expected the folder backend, whose pictures carry prompts, got local"],
  },
  "distinct seeds of a folder": {
    yaml: `version: 1
prompts: {from: backend}
seeds: distinct
backend: {backend: folder, path: .}
steps: [generate:]`,
    faults: [
      "p.yaml:3:8: seeds: expected shared, since a seed of the folder backend is the number of a picture, got distinct",
    ],
  },
  "null prompts": {
    yaml: `version: 1
prompts: ["a\\0b", null]
steps: [generate:]`,
    faults: ["p.yaml:2:19: prompts.1: expected text or a mapping, got null"],
  },
  "misspelt template": {
    yaml: `version: 1
template: '\${prmpt} \${item.x}'
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:11: unknown variable prmpt; did you mean prompt?"],
  },
  "steps that cannot follow": {
    yaml: `version: 1
prompts: [a]
steps: [score:, select:, img2img:, export:, generate:, generate:, select: {per: run}, score:, score:]`,
    faults: [
      "p.yaml:3:9: steps.0: expected a step that draws before score",
      "p.yaml:3:26: steps.2: expected a step that draws before img2img",
      "p.yaml:3:45: steps.4: expected one generate, or one after refine, got another",
      "p.yaml:3:56: steps.5: expected one generate, or one after refine, got another",
      "p.yaml:3:67: steps.6: expected score before select",
      "p.yaml:3:67: steps.6: expected only export after select per run",
      "p.yaml:3:87: steps.7: expected score right after the step that draws, got it after select",
      "p.yaml:3:95: steps.8: expected score once after a step that draws, got it again",
    ],
  },
  "what differs over prompts": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:, select: {per: run, diverse: true}]`,
    faults: [
      "p.yaml:3:56: steps.2.select.diverse: expected it beside per: item, whose pictures are of one prompt, got per: run",
    ],
  },
  "goal beyond the count": {
    yaml: `version: 1
prompts: [a]
steps: [generate: {count: 2, until: {score: 1, images: 3}}]`,
    faults: [
      "p.yaml:3:9: steps.0: expected score right after generate with until, since it stops by scores",
      "p.yaml:3:56: steps.0.generate.until.images: expected at most the 2 of count, got 3",
    ],
  },
  "mask without init": {
    yaml: `version: 1
prompts: [a]
steps: [generate: {mask: m.png}]`,
    faults: [
      "p.yaml:3:26: steps.0.generate.mask: expected init beside it, the picture it is a mask of, got it alone",
      "p.yaml:3:26: steps.0.generate.mask: m.png: expected a picture, got no such file",
    ],
  },
  "strength without a picture": {
    yaml: `version: 1
settings: {strength: 0.5}
prompts: [a]
steps: [generate: {strength: 0.5}]`,
    faults: [
      "p.yaml:2:22: settings.strength: expected a picture (init) to start from, or img2img, got neither",
      "p.yaml:4:30: steps.0.generate.strength: expected a picture (init) to start from, or img2img, got neither",
    ],
  },
  "missing files": {
    yaml: `version: 1
settings: {embeddings: [e.pt], lora: ["l.safetensors:0.5"]}
prompts: [a]
steps: [generate: {init: i.png, mask: .}]`,
    faults: [
      "p.yaml:2:25: settings.embeddings.0: e.pt: expected an embedding, got no such file",
      "p.yaml:2:39: settings.lora.0: l.safetensors: expected a LoRA, got no such file",
      "p.yaml:4:26: steps.0.generate.init: i.png: expected a picture, got no such file",
      "p.yaml:4:39: steps.0.generate.mask: .: expected a picture, got a folder",
    ],
  },
  "secret as text": {
    yaml: `version: 1
backend:
  backend: openai
  key: sk-verysecret
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:4:8: backend.key: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)",
    ],
  },
  "secret as the name of a variable": {
    yaml: `version: 1
backend:
  backend: openai
  key: {env: sk-very-secret}

prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:4:8: backend.key: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)",
    ],
  },
  "password in an address": {
    yaml: `version: 1
backend: {backend: webui, url: 'http://me:sk-verysecret@x'}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ['p.yaml:2:32: backend.url: expected an address without user or password in it, got "http://[redacted]@x"'],
  },
  "secret among further fields": {
    yaml: `version: 1
backend: {backend: openai, extra: {api_key: sk-verysecret}}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:36: backend.extra.api_key: expected no secret among the further fields"],
  },
  "secret in a variable": {
    yaml: `version: 1
variables: {apiKey: sk-verysecret}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:13: variables.apiKey: expected no secret: one is named where it is used, by env or file"],
  },
  "secret under an unknown key": {
    yaml: `version: 1
backend: {backend: openai, apiKey: sk-verysecret}
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:28: backend: unknown key apiKey; known are backend, url, key, model, quality, extra, concurrency, rate, timeout, retries, price",
    ],
  },
  "secret from --set": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { backend: "{backend: openai, key: sk-verysecret}" },
    faults: [
      "--set backend: backend.key: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)",
    ],
  },
  "secret in a backend file": {
    yaml: `version: 1
backend: b.yaml
prompts: [a]
steps: [generate:, score:]
`,
    files: { "b.yaml": "backend: huggingface\ntoken: sk-verysecret" },
    faults: [
      "b.yaml:2:8: token: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)",
    ],
  },
};
