/** @file Documents that are wrong in themselves: YAML, keys, types, variables, changes from the command line. */

import type { BadDocument } from "./bad-document.js";

export const BAD_YAML: Readonly<Record<string, BadDocument>> = {
  "empty file": { yaml: "", faults: ["p.yaml:1:1: expected a YAML document, got an empty file"] },
  "comments alone": { yaml: "# x\n", faults: ["p.yaml:1:1: expected a YAML document, got an empty file"] },
  list: { yaml: "- a\n", faults: ["p.yaml:1:1: expected a mapping, the pipeline"] },
  "open list": {
    yaml: `version: 1
steps: [
`,
    faults: ["p.yaml:3:1: Flow sequence in block collection must be sufficiently indented and end with a ]"],
  },
  "two documents": {
    yaml: `version: 1
---
version: 1
`,
    faults: ["p.yaml:2:1: expected one document, got a second"],
  },
  "key twice": {
    yaml: `version: 1
seed: 1
seed: 2
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:3:1: expected each key once, got seed again"],
  },
  "list as a key": {
    yaml: `? [a]
: b
`,
    faults: ["p.yaml:1:3: expected a key that is one word or text"],
  },
  "alias without anchor": {
    yaml: `version: 1
name: *x
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:7: expected an anchor &x before the alias *x, got none"],
  },
  "alias inside itself": {
    yaml: `version: 1
prompts: &a [*a]
steps: [generate:]`,
    faults: ["p.yaml:2:14: alias *a stands inside what it stands for"],
  },
  "infinite number": {
    yaml: `version: 1
budget: {seconds: .inf}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:19: expected text, a finite number, true, false or null, got Infinity"],
  },
  "binary tag": {
    yaml: `version: 1
name: !!binary aGk=
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:16: expected text, a finite number, true, false or null, got hi"],
  },
  "function tag": {
    yaml: `version: 1
name: !!js/function 'x'
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:7: Unresolved tag: tag:yaml.org,2002:js/function"],
  },
  "merge key": {
    yaml: `version: 1
<<: {seed: 1}
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:1: unknown key <<; known are version, name, description, variables, prompts, template, matrix, settings, backend, reward, seed, seeds, concurrency, budget, out, train, steps",
    ],
  },
  "unknown key": {
    yaml: `version: 1
promts: [a]
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:1: unknown key promts; did you mean prompts?"],
  },
  "misspelt step": {
    yaml: `version: 1
prompts: [a]
steps: [generte:]`,
    faults: ["p.yaml:3:9: steps.0: unknown key generte; did you mean generate?"],
  },
  "unknown settings": {
    yaml: `version: 1
prompts: [a]
steps:
  - generate: {cuont: 3, stpes: 4}`,
    faults: [
      "p.yaml:4:16: steps.0.generate: unknown key cuont; did you mean count?",
      "p.yaml:4:26: steps.0.generate: unknown key stpes; did you mean steps?",
    ],
  },
  "another version": {
    yaml: `version: 2
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:1:10: version: expected 1, got 2"],
  },
  "wrong types": {
    yaml: `version: one
prompts: 3
seed: x
steps: {}
`,
    faults: [
      'p.yaml:1:10: version: expected 1, got "one"',
      "p.yaml:2:10: prompts: expected text or a list or a mapping, got 3",
      'p.yaml:3:7: seed: expected a number, got "x"',
      "p.yaml:4:8: steps: expected a list, got a mapping",
    ],
  },
  "numbers out of range": {
    yaml: `version: 1
prompts: [a]
seed: -1
settings: {steps: 0, guidance: 101, width: 4097, strength: 2}
steps: [generate: {count: 10001}]`,
    faults: [
      "p.yaml:3:7: seed: expected at least 0, got -1",
      "p.yaml:4:19: settings.steps: expected at least 1, got 0",
      "p.yaml:4:32: settings.guidance: expected at most 100, got 101",
      "p.yaml:4:44: settings.width: expected at most 4096, got 4097",
      "p.yaml:4:60: settings.strength: expected at most 1, got 2",
      "p.yaml:5:27: steps.0.generate.count: expected at most 10000, got 10001",
    ],
  },
  "fraction for a count": {
    yaml: `version: 1
prompts: [a]
steps: [generate: {count: 1.5}]`,
    faults: ["p.yaml:3:27: steps.0.generate.count: expected a whole number, got 1.5"],
  },
  "no steps": {
    yaml: `version: 1
prompts: [a]
steps: []`,
    faults: ["p.yaml:3:8: steps: expected at least 1 entry, got 0"],
  },
  "no prompts": {
    yaml: `version: 1
prompts: []
steps: [generate:]`,
    faults: ["p.yaml:2:10: prompts: expected at least 1 entry, got 0"],
  },
  "two steps in one": {
    yaml: `version: 1
prompts: [a]
steps: [{generate: , score: }]`,
    faults: [
      "p.yaml:3:9: steps.0: expected one step (generate, score, select, refine, img2img, export), got a mapping",
    ],
  },
  "empty step": {
    yaml: `version: 1
prompts: [a]
steps: [{}]`,
    faults: [
      "p.yaml:3:9: steps.0: expected one step (generate, score, select, refine, img2img, export), got a mapping",
    ],
  },
  "step as text": {
    yaml: `version: 1
prompts: [a]
steps: [generate]`,
    faults: ['p.yaml:3:9: steps.0: expected a mapping, got "generate"'],
  },
  "variables in a circle": {
    yaml: `version: 1
variables: {a: '\${b}', b: '\${a}'}
name: \${a}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:27: variable a needs itself: a -> b -> a"],
  },
  "misspelt variable": {
    yaml: `version: 1
variables: {count: 1}
prompts: [a]
steps: [generate: {count: '\${cuont}'}]`,
    faults: ["p.yaml:4:27: unknown variable cuont; did you mean count?"],
  },
  "undeclared variable": {
    yaml: `version: 1
name: \${x}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:7: unknown variable x; declared are none"],
  },
  "list inside a text": {
    yaml: `version: 1
variables: {a: [1]}
name: x\${a}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:3:7: variable a: expected text or a number inside a text, got a list"],
  },
  "open brace": {
    yaml: `version: 1
name: 'x\${a'
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:7: expected ${name}, got a ${ that nothing closes; $${ stands for the characters"],
  },
  "item value outside a template": {
    yaml: `version: 1
name: '\${prompt}'
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:7: ${prompt}: expected it in template or in export's to, where an item is at hand, got it in name",
    ],
  },
  "reserved variable name": {
    yaml: `version: 1
variables: {prompt: x}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:13: expected another name than prompt, which is the item's"],
  },
  "bad variable name": {
    yaml: `version: 1
variables: {'a b': x}
prompts: [a]
steps: [generate:, score:]
`,
    faults: ["p.yaml:2:13: variables.a b: expected a name of letters, digits, _ and -"],
  },
  "variable of another type": {
    yaml: `version: 1
variables: {n: many}
prompts: [a]
steps:
  - generate:
      count: \${n}`,
    faults: ['p.yaml:6:14: steps.0.generate.count: expected a number, got "many"'],
  },
  "--set of an unknown name": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { cuont: "1" },
    faults: ["--set cuont: expected a declared variable or a key of the document, got cuont"],
  },
  "--set of a place out of range": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { "settings.steps": "0" },
    faults: ["--set settings.steps: settings.steps: expected at least 1, got 0"],
  },
  "--set beyond a list": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { "steps.7.generate": "1" },
    faults: ["--set steps.7.generate: expected a number below 2 for the list at p.yaml:3:8, got 7"],
  },
  "--set inside a number": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { "version.x": "1" },
    faults: ["--set version.x: expected a mapping or a list at p.yaml:1:10, got one value"],
  },
  "--set of no YAML": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { name: "[a" },
    faults: ["--set name:1:3: Flow sequence must end with a ]"],
  },
  "--set of __proto__": {
    yaml: `version: 1
prompts: [a]
steps: [generate:, score:]
`,
    set: { "settings.__proto__": "1" },
    faults: ["--set settings.__proto__: expected another key than __proto__"],
  },
  "__proto__ keys": {
    yaml: `version: 1
__proto__: {a: 1}
settings: {__proto__: 1}
matrix: {__proto__: [1]}
variables: {__proto__: 1}
prompts: [a]
steps: [generate:, score:]
`,
    faults: [
      "p.yaml:2:1: expected another key than __proto__",
      "p.yaml:3:12: expected another key than __proto__",
      "p.yaml:4:10: expected another key than __proto__",
      "p.yaml:5:13: expected another key than __proto__",
    ],
  },
};
