/** @file All checks of the installation, one after the other. */

import type { BackendConfig } from "../backends/config.js";
import { EXIT } from "../errors.js";
import { EMBEDDED_MODELS, EMBEDDED_REFERENCE } from "../pipeline/package-info.js";
import { type Device, openDevice } from "../runtime/device.js";
import type { DeviceChoice } from "../runtime/execution-providers.js";
import type { Environment } from "../util/user-folders.js";
import { type Check, failure } from "./check.js";
import { checkBackend } from "./check-backend.js";
import { checkStorage } from "./check-storage.js";
import { checkDevices, checkModelMemory } from "./check-devices.js";
import { checkCodecs, checkMachine, checkRuntime, checkVersions } from "./check-system.js";
import {
  demoDigests,
  type DemoModels,
  judgeSelfTest,
  readSelfTestReference,
  runSelfTest,
  type SelfTestReference,
} from "./self-test.js";

/** What is checked, where it is not the usual. */
export interface DiagnoseOptions {
  /** The folder of runs. @default outputs */
  readonly out?: string;
  /** @default process.env */
  readonly environment?: Environment;
  /** The demo models. @default those that ship inside */
  readonly models?: DemoModels;
  /** A backend to be checked, too. */
  readonly backend?: BackendConfig | undefined;
  /** What the self-test runs on. @default "cpu" */
  readonly device?: DeviceChoice | undefined;
  /** A generator and a reward whose memory is judged. @default the demo models */
  readonly model?: string | undefined;
  readonly rewardModel?: string | undefined;
  readonly signal?: AbortSignal;
}

const REINSTALL = "a file of the package is damaged or missing: install Laurel again";

/** Yields each finding as it is made. What fails is a finding, too; nothing but a cancellation is thrown. */
export async function* diagnose(options: DiagnoseOptions = {}): AsyncGenerator<Check, void> {
  const { out = "outputs", environment = process.env, models = EMBEDDED_MODELS, backend, signal } = options;
  const { model = models.generator, rewardModel = models.reward } = options;
  const device = openDevice({ executionProvider: options.device });
  device.start();
  try {
    yield* checkVersions();
    yield* checkMachine(device.threads);
    const runtime = await checkRuntime(device);
    yield runtime;
    if (runtime.status !== "fail") yield await checkDevices();
    for (const judged of [
      { kind: "generator", path: model },
      { kind: "reward", path: rewardModel },
    ] as const) {
      const memory = await checkModelMemory(judged);
      // of the demo models that cannot be opened, the self-test tells
      const given = judged.path === options.model || judged.path === options.rewardModel;
      if (memory.status !== "fail" || given) yield memory;
    }
    yield await checkCodecs();
    yield* await checkStorage(out, environment);
    if (backend !== undefined) yield await checkBackend(backend, signal);
    let reference: SelfTestReference;
    try {
      reference = await readSelfTestReference(EMBEDDED_REFERENCE);
    } catch (error) {
      yield failure("models", error, REINSTALL);
      return;
    }
    yield await checkDigests(models, reference);
    if (runtime.status !== "fail") yield* await checkModels(device, models, reference, signal);
  } finally {
    await device.close();
  }
}

/** The exit code that findings amount to: the models' before the device's before any other. */
export function exitCodeOf(checks: readonly Check[]): number {
  const failures = checks.filter(({ status }) => status === "fail");
  const codes = failures.map(({ exitCode = EXIT.unexpected }) => exitCode);
  return [EXIT.model, EXIT.backendUnavailable].find((code) => codes.includes(code)) ?? codes[0] ?? EXIT.ok;
}

/** The demo models' files against what they were when they were recorded. */
async function checkDigests(models: DemoModels, { digests }: SelfTestReference): Promise<Check> {
  try {
    const actual = await demoDigests(models);
    const changed = (Object.keys(digests) as (keyof typeof digests)[]).filter((name) => actual[name] !== digests[name]);
    const facts = { expected: digests, actual };
    if (changed.length === 0) return { name: "models", status: "ok", detail: "the demo models are as shipped", facts };
    const detail = changed.map((name) => `${models[name]}: expected ${digests[name].slice(0, 12)}, got ${actual[name].slice(0, 12)}`); // prettier-ignore
    return { name: "models", status: "fail", detail: detail.join("; "), hint: REINSTALL, exitCode: EXIT.model, facts };
  } catch (error) {
    return failure("models", error, REINSTALL);
  }
}

/** One picture scored, one generated. */
async function checkModels(
  device: Device,
  models: DemoModels,
  reference: SelfTestReference,
  signal: AbortSignal | undefined,
): Promise<Check[]> {
  try {
    const result = await runSelfTest(device, models, signal);
    const verdict = judgeSelfTest(result, reference);
    const { scoreDifference, pictureDifference, identical, passed } = verdict;
    const likeness = identical
      ? "identical to what was recorded"
      : `the score differs by ${scoreDifference.toExponential(1)}, the picture by ${pictureDifference.toFixed(2)} of 255 levels`;
    const times = `load ${result.loadMs.toFixed(0)} ms, score ${result.scoreMs.toFixed(0)} ms, generate ${result.generateMs.toFixed(0)} ms`;
    const check: Check = {
      name: "self-test",
      status: passed ? "ok" : "fail",
      detail: `${likeness}; ${times}`,
      facts: { ...verdict, ...result, expected: { score: reference.score, picture: reference.picture } },
    };
    if (passed) return [check];
    return [{ ...check, hint: "results here are not what they should be; please report it with laurel doctor --json" }];
  } catch (error) {
    if (signal?.aborted === true) throw error;
    return [failure("self-test", error)];
  }
}
