/** @file Files of prompts that are none. */

import type { BadDocument } from "./bad-document.js";

export const BAD_PROMPTS: Readonly<Record<string, BadDocument>> = {
  "missing prompts": {
    yaml: `version: 1
prompts: {file: p.txt}
steps: [generate:]`,
    faults: ["p.yaml:2:17: prompts.file: p.txt: expected a file of prompts, got no such file"],
  },
  "prompts of unknown form": {
    yaml: `version: 1
prompts: {file: p.xyz}
steps: [generate:]`,
    files: { "p.xyz": "a" },
    faults: [
      "p.yaml:2:17: prompts.file: p.xyz: expected a file ending in .txt, .csv, .jsonl, .ndjson, .json, or a format beside it, got .xyz",
    ],
  },
  "blank prompts file": {
    yaml: `version: 1
prompts: {file: p.txt}
steps: [generate:]`,
    files: { "p.txt": "\n\n" },
    faults: ["p.yaml:2:17: prompts.file: p.txt: expected prompts, got none"],
  },
  "offset beyond the end": {
    yaml: `version: 1
prompts: {file: p.txt, offset: 5}
steps: [generate:]`,
    files: { "p.txt": "a\nb" },
    faults: ["p.yaml:2:17: prompts.file: p.txt: expected prompts from number 5 on, got 2 before that"],
  },
  "ragged CSV": {
    yaml: `version: 1
prompts: {file: p.csv}
steps: [generate:]`,
    files: { "p.csv": "id,prompt\n1,a\n2\n" },
    faults: [
      "p.yaml:2:17: prompts.file: p.csv: expected CSV with a line of column names, got Invalid Record Length: columns length is 2, got 1 on line 3",
    ],
  },
  "open quote in CSV": {
    yaml: `version: 1
prompts: {file: p.csv}
steps: [generate:]`,
    files: { "p.csv": 'id,prompt\n1,"a\n2,b\n' },
    faults: [
      "p.yaml:2:17: prompts.file: p.csv: expected CSV with a line of column names, got Quote Not Closed: the parsing is finished with an opening quote at line 3",
    ],
  },
  "CSV column twice": {
    yaml: `version: 1
prompts: {file: p.csv}
steps: [generate:]`,
    files: { "p.csv": "prompt,prompt\na,b\n" },
    faults: ['p.yaml:2:17: prompts.file: p.csv: expected each column once, got "prompt" again'],
  },
  "misspelt CSV column": {
    yaml: `version: 1
prompts: {file: p.csv, column: titel}
steps: [generate:]`,
    files: { "p.csv": "id,title\n1,a\n2,b\n" },
    faults: [
      "p.csv:2:1: expected a text under titel, got id, title; did you mean title?",
      "p.csv:3:1: expected a text under titel, got id, title; did you mean title?",
    ],
  },
  "CSV without prompts": {
    yaml: `version: 1
prompts: {file: p.csv}
steps: [generate:]`,
    files: { "p.csv": "id,title\n1,a\n" },
    faults: ["p.csv:2:1: expected a text under prompt, text, caption, got id, title"],
  },
  "CSV with blank prompts": {
    yaml: `version: 1
prompts: {file: p.csv}
steps: [generate:]`,
    files: { "p.csv": "id,prompt\n1,a\n2,\n3,\n" },
    faults: ["p.csv:3:1: expected a prompt, got an empty text", "p.csv:4:1: expected a prompt, got an empty text"],
  },
  "broken JSON line": {
    yaml: `version: 1
prompts: {file: p.jsonl}
steps: [generate:]`,
    files: { "p.jsonl": '"a"\n{"prompt": \n[1]\n{"prompt":"b"}' },
    faults: ["p.jsonl:2:1: expected JSON, got Unexpected end of JSON input"],
  },
  "JSON lines of other kinds": {
    yaml: `version: 1
prompts: {file: p.jsonl}
steps: [generate:]`,
    files: { "p.jsonl": '"a"\n[1]\n{"prompt":3}\n{"text":""}' },
    faults: [
      "p.jsonl:2:1: expected a text or an object with a prompt, got a list",
      "p.jsonl:3:1: expected a text under prompt, got prompt",
      "p.jsonl:4:1: expected a prompt, got an empty text",
    ],
  },
  "JSON that is no list": {
    yaml: `version: 1
prompts: {file: p.json}
steps: [generate:]`,
    files: { "p.json": '{"a": 1}' },
    faults: ["p.yaml:2:17: prompts.file: p.json: expected a list of prompts, got an object"],
  },
  "JSON list of other kinds": {
    yaml: `version: 1
prompts: {file: p.json}
steps: [generate:]`,
    files: { "p.json": '["a", 3, {}, {"image_path": "x"}]' },
    faults: [
      "p.json: entry 1: expected a text or an object with a prompt, got a number",
      "p.json: entry 2: expected a text under prompt, text, caption, got nothing",
      "p.json: entry 3: expected a text under prompt, text, caption, got image_path",
    ],
  },
  "folder of prompts": {
    yaml: `version: 1
prompts: {file: ., format: txt}
steps: [generate:]`,
    faults: ["p.yaml:2:17: prompts.file: .: expected a file of prompts, got a folder"],
  },
};
