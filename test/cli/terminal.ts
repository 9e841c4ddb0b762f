/** @file Runs the command line inside the test, on small procedural models and captured streams. */

import { Writable } from "node:stream";
import type { CommandContext } from "#laurel/cli/context";
import type { Terminal } from "#laurel/cli/output";
import { runProgram } from "#laurel/cli/program";
import { ModelError } from "#laurel/errors";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend, type ProceduralOptions } from "../backends/procedural-backend.js";

/** What a command line did. */
export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How the process around the command looks. */
export interface Surroundings {
  readonly tty?: boolean;
  readonly environment?: Record<string, string>;
  readonly backend?: ProceduralOptions;
  readonly reward?: Reward;
  /** What `--reward NAME` opens, where it is not `reward`. */
  readonly rewards?: Readonly<Record<string, Reward>>;
  readonly signal?: AbortSignal;
  readonly stdin?: Terminal["stdin"];
}

/** Runs `laurel` with `args`. A model folder named `missing` does not exist. */
export async function laurel(args: readonly string[], surroundings: Surroundings = {}): Promise<Outcome> {
  const stdout = capture(surroundings.tty ?? false);
  const stderr = capture(surroundings.tty ?? false);
  const refuse = (path: string | null): void => {
    if (path?.endsWith("missing") === true) throw new ModelError(`${path}: expected a model, got no such folder`);
  };
  const context: CommandContext = {
    terminal: {
      stdout: stdout.stream,
      stderr: stderr.stream,
      environment: surroundings.environment ?? {},
      ...(surroundings.stdin === undefined ? {} : { stdin: surroundings.stdin }),
    },
    signal: surroundings.signal ?? new AbortController().signal,
    openSession: async () => ({
      programMs: () => 0,
      openBackend: async (path) => {
        refuse(path);
        return createProceduralBackend(surroundings.backend);
      },
      openReward: async (path) => {
        refuse(path);
        return surroundings.reward ?? createBrightnessReward();
      },
      openNamedReward: async (name) => {
        refuse(name);
        return surroundings.rewards?.[name] ?? surroundings.reward ?? createBrightnessReward();
      },
      close: async () => undefined,
    }),
  };
  const exitCode = await runProgram(args, context);
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

function capture(isTTY: boolean): { stream: Terminal["stdout"]; text: () => string } {
  const chunks: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  const size = { isTTY, columns: 100, cursorTo: () => true, clearLine: () => true, moveCursor: () => true };
  return { stream: Object.assign(stream, size), text: () => chunks.join("") };
}
