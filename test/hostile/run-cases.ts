/** @file Runs, training settings and checkpoints that were written by someone else. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createRun, openRun, readRun } from "#laurel/pipeline/run-store";
import { readDemoSettings } from "#laurel/training/demo-settings";
import { newRun } from "../pipeline/runs.js";
import { change } from "./models.js";
import type { HostileCase, Table } from "./runner.js";

/** A good run with fields of its manifest changed. */
function manifest(wrong: Readonly<Record<string, unknown>>, message: RegExp): HostileCase {
  return {
    name: `run.json ${JSON.stringify(wrong).slice(0, 80)}`,
    message,
    exit: "usage",
    at: "run.json",
    open: readRun,
    make: async (folder) => {
      const made = await createRun(join(folder, "runs"), newRun());
      const path = join(folder, "run.json");
      writeFileSync(path, JSON.stringify(made.manifest));
      await made.close();
      change(path, wrong);
      return folder;
    },
  };
}

function text(name: string, content: string, message: RegExp): HostileCase {
  return {
    name: `run.json: ${name}`,
    message,
    exit: "usage",
    at: "run.json",
    open: openRun,
    make: (folder) => (writeFileSync(join(folder, "run.json"), content), folder),
  };
}

function settings(name: string, content: string, message: RegExp): HostileCase {
  return {
    name: `training settings: ${name}`,
    message,
    exit: "usage",
    open: (path) => readDemoSettings("judge", path),
    make: (folder) => (writeFileSync(join(folder, "judge.yaml"), content), join(folder, "judge.yaml")),
  };
}

const laughs = [
  "a: &a [x,x,x,x,x,x,x,x,x]",
  ..."bcdefghi".split("").map((name, i) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[i]}`).join(",")}]`),
].join("\n");

/** What reading a run or training settings must refuse. */
export const RUNS: Table = {
  title: "run",
  cases: [
    manifest({ schemaVersion: 2 }, /schemaVersion/),
    manifest({ status: "constructor" }, /status/),
    manifest({ "config.count": -1 }, /config\.count/),
    manifest({ "config.count": 1e9 }, /config\.count/),
    manifest({ "config.count": 1.5 }, /config\.count/),
    manifest({ "config.seed": -1 }, /config\.seed/),
    manifest({ "config.seed": 1e300 }, /config\.seed/),
    manifest({ "config.prompt": "" }, /config\.prompt/),
    manifest({ "config.prompt": 5, "config.steps": "many" }, /config\.prompt.*config\.steps/),
    manifest({ "request.strategy": "os.system" }, /request\.strategy/),
    manifest({ unknown: 1 }, /unknown/),
    manifest({ ranking: ["0"] }, /ranking\.0/),
    manifest({ ranking: [-1] }, /ranking\.0/),
    manifest({ models: null }, /models/),
    manifest({ timings: undefined }, /timings/),
    text("empty", "", /expected JSON, got an empty file/),
    text("cut short", '{"schemaVersion":1', /expected JSON/),
    text("a list", "[]", /expected the manifest of a run/),
    text("deep nesting", '{"a":'.repeat(100_000), /at most 64 levels/),
    text("17 MB", `{"a":"${"x".repeat(17 << 20)}"}`, /more than the 16777216 it may have/),
    text("__proto__", '{"__proto__":{"status":"complete"}}', /expected the manifest of a run/),
    text("not UTF-8", Buffer.from([0x7b, 0xff, 0x7d]).toString("latin1"), /expected JSON/),
    {
      name: "candidates.jsonl that is a folder",
      message: /expected a file of lines, got a folder/,
      exit: "usage",
      at: "candidates.jsonl",
      open: readRun,
      make: async (folder) => {
        const made = await createRun(join(folder, "runs"), newRun());
        writeFileSync(join(folder, "run.json"), JSON.stringify(made.manifest));
        await made.close();
        mkdirSync(join(folder, "candidates.jsonl"));
        return folder;
      },
    },
    settings("empty", "", /judge.yaml: /),
    settings("a list", "- 1\n", /judge.yaml: /),
    settings("a billion laughs", laughs, /judge.yaml: /),
    settings("deep nesting", "[".repeat(50_000), /judge.yaml: /),
    settings(
      "a tag that would run code elsewhere",
      "stage: !!python/object/apply:os.system ['touch canary']",
      /judge.yaml: /,
    ),
    settings("a tag of JavaScript", "stage: !!js/function 'function(){}'", /judge.yaml: /),
    settings("an alias of nothing", "stage: *nowhere", /judge.yaml: /),
    settings("a key twice", "stage: judge\nstage: reward\n", /judge.yaml: /),
    settings("an alias of itself", "stage: &a [*a]", /judge.yaml: /),
    settings("not a number", "stage: judge\nsteps: .nan\nbatchSize: .inf\n", /steps/),
    settings("a million steps of nothing", `stage: judge\nsteps: ${"9".repeat(400)}\n`, /steps/),
    settings("300 KB", `# ${"x".repeat(300_000)}\nstage: judge\n`, /more than the 262144 it may have/),
  ],
};
