/** @file A device process that is killed, runs out of memory or hangs in the middle of the work. */

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT } from "#laurel/errors";
import * as g from "#laurel/graph/builder";
import { readRun } from "#laurel/pipeline/run-store";
import { openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import { randomModels } from "../cli/models.js";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const isLinux = process.platform === "linux";
const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0;
const folder = mkdtempSync(join(tmpdir(), "laurel-device-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.runIf(isLinux)("a run whose device", () => {
  const COUNT = 6;
  let models: string[];
  let undisturbed: string;

  function start(args: readonly string[]) {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "ignore", "pipe"], cwd: folder });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const ended = once(child, "close").then(([code]) => ({ code: code as number | null, stderr }));
    return { pid: child.pid!, ended };
  }

  const generate = (out: string): string[] => [
    ...["generate", "a red circle", "-n", String(COUNT), "--seed", "7", "--steps", "8", "--batch", "2", "--json"],
    ...["--out", join(folder, out), ...models],
  ];
  const directoryOf = (out: string): string => join(folder, out, readdirSync(join(folder, out))[0]!);

  /** Resumes a run and expects what an undisturbed one gives, byte for byte. */
  async function expectResumable(directory: string): Promise<void> {
    expect((await readRun(directory)).manifest.status).toBe("failed");
    expect(await start(["resume", directory]).ended).toMatchObject({ code: EXIT.ok });
    const [resumed, expected] = [await readRun(directory), await readRun(undisturbed)];
    expect(resumed.manifest.status).toBe("complete");
    expect(resumed.candidates).toEqual(expected.candidates);
    for (const { image } of resumed.candidates) {
      expect(readFileSync(join(directory, image)).equals(readFileSync(join(undisturbed, image)))).toBe(true);
    }
  }

  beforeAll(async () => {
    const made = await randomModels(folder);
    models = [...made.generator, ...made.reward];
    expect(await start(generate("undisturbed")).ended).toMatchObject({ code: EXIT.ok });
    undisturbed = directoryOf("undisturbed");
  }, 240_000);

  /** Starts a run, does something to its device process once the first candidate is there, and expects one line and code 3. */
  async function interfere(out: string, act: (device: number) => void, error: RegExp): Promise<void> {
    const { pid, ended } = start(generate(out));
    const lines = (): number => {
      try {
        return readFileSync(join(directoryOf(out), "candidates.jsonl"), "utf8").split("\n").length - 1;
      } catch {
        return 0;
      }
    };
    while (lines() < 1) await sleep(5);
    act(Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]));
    const { code, stderr } = await ended;
    expect(stderr).toMatch(/the run stopped with \d of 6 candidates; go on with: laurel resume /);
    expect(stderr.match(/^error: .*$/gm)).toEqual([expect.stringMatching(error)]);
    expect(code).toBe(EXIT.backendUnavailable);
    expect(lines()).toBeLessThan(COUNT);
    await expectResumable(directoryOf(out));
  }

  test("is killed ends with code 3 and one line, and resumes to the same result", async () => {
    const error = /expected the device process to answer, got its end \(SIGKILL, as when memory runs out\)$/;
    await interfere("killed", (device) => process.kill(device, "SIGKILL"), error);
  }, 240_000);

  test.runIf(hasPrlimit)(
    "runs out of memory ends with code 3 and one line, and resumes to the same result",
    async () => {
      // From now on it gets no more address space: its next tensor does not fit.
      const starve = (device: number) => void execFileSync("prlimit", ["--pid", String(device), "--as=1"]);
      await interfere("starved", starve, /^error: program /);
    },
    240_000,
  );
});

test("a run that asks for 256 GB is refused, and the device goes on", async () => {
  const device = openDevice();
  try {
    const x = g.input("x", "float32", [1, 1]);
    const wide = g.expand(x, [1, 2 ** 36]);
    const large = await device.compile(g.graph("large", { y: g.reduceSum(wide, [1], { keepDims: false }) }));
    const small = await device.compile(g.graph("small", { y: g.neg(x) }));
    const feeds = { x: float32([1, 1], [1]) };
    await expect(large.run(feeds)).rejects.toThrow(
      expect.objectContaining({
        name: "BackendError",
        exitCode: EXIT.backendUnavailable,
        message: expect.stringMatching(/^program large: [^\n]+$/) as string,
      }),
    );
    expect((await small.run(feeds))["y"]?.data).toEqual(Float32Array.of(-1));
  } finally {
    await device.close();
  }
});

describe.runIf(isLinux)("a device process that does nothing", () => {
  const NEVER = new URL("./never.mjs", import.meta.url);
  const hung = /expected the device process to answer, got its end \(no sign of work for 1.5 s/;

  test("is ended and replaced, whether it waits for ever or is stopped", async () => {
    const device = openDevice({ stallMs: 1500 });
    try {
      const program = await device.compile(g.graph("small", { y: g.neg(g.input("x", "float32", ["N"])) }));
      const run = () => program.run({ x: float32([1], [2]) });
      await expect(device.invoke(NEVER, undefined)).rejects.toThrow(hung);
      expect((await run())["y"]?.data).toEqual(Float32Array.of(-2));
      process.kill(device.pid!, "SIGSTOP");
      await expect(run()).rejects.toThrow(
        expect.objectContaining({ name: "BackendError", message: expect.stringMatching(hung) as string }),
      );
      expect((await run())["y"]?.data).toEqual(Float32Array.of(-2));
    } finally {
      await device.close();
    }
  });

  test("is told from one that works for longer than that", async () => {
    const device = openDevice({ stallMs: 700, threads: 1 });
    try {
      const matrix = g.input("x", "float32", [512, 512]);
      let y = matrix;
      for (let index = 0; index < 400; index++) y = g.matMul(y, matrix);
      const program = await device.compile(g.graph("long", { y: g.reduceSum(y, [0, 1], { keepDims: false }) }));
      const started = performance.now();
      await program.run({ x: float32([512, 512], new Float32Array(512 * 512)) });
      expect(performance.now() - started).toBeGreaterThan(700);
    } finally {
      await device.close();
    }
  });
});
