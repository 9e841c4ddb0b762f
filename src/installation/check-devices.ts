/** @file What would run where: the execution providers that answer, and the memory models need. */

import { openStableDiffusion } from "../diffusion/stable-diffusion.js";
import { openImageReward } from "../rewards/image-reward.js";
import { openDevice } from "../runtime/device.js";
import { availableMemory, gigabytes, type MemoryNeed } from "../runtime/memory.js";
import { chooseProvider, type ProviderProbe, probeProvider } from "../runtime/probe.js";
import { acceleratorsHere } from "../runtime/execution-providers.js";
import { type Check, failure } from "./check.js";

/** Runs a small program on each provider of this platform, and says which one `--device auto` takes. */
export async function checkDevices(): Promise<Check> {
  const probes: ProviderProbe[] = [];
  // one after the other: what is timed should have the machine to itself
  for (const name of acceleratorsHere()) probes.push(await probeProvider(name));
  const { chosen } = await chooseProvider();
  const found = probes.map((probe) => `${probe.name}: ${verdictOf(probe)}`);
  const why = chosen === "cpu" ? "nothing else answers with hardware behind it" : "it is the best that answers";
  return {
    name: "devices",
    status: "ok",
    detail: `runs on cpu unless --device says otherwise; --device auto takes ${chosen}, since ${why}; ${found.join("; ")}`,
    facts: { default: "cpu", auto: chosen, probes },
  };
}

function verdictOf({ works, problem, software, productMs, fusedAttention }: ProviderProbe): string {
  if (!works) return `does not answer (${problem})`;
  const speed = `a product of 256x256 in ${productMs.toFixed(0)} ms`;
  const attention = fusedAttention ? "" : ", its fused attention is wrong and is written out";
  return `${software ? "answers, but in software" : "answers"} (${speed}${attention})`;
}

/** A model to be judged. */
export interface CheckedModel {
  readonly kind: "generator" | "reward";
  readonly path: string;
}

/**
 * What generating one picture of the model's own size, or scoring one, takes on the cpu, against what is free. Nothing is loaded.
 * @param available bytes @default what is free now
 */
export async function checkModelMemory(
  { kind, path }: CheckedModel,
  available: number = availableMemory(),
): Promise<Check> {
  try {
    const [whole, inTurn] = [await needOf(kind, path, false), await needOf(kind, path, true)];
    const fits = whole <= available;
    const detail = `${path} takes about ${gigabytes(whole)} of memory, with --low-memory ${gigabytes(inTurn)}; ${gigabytes(available)} are free`;
    const hint = inTurn <= available ? "give --low-memory" : "take a smaller model, or a machine with more memory";
    return {
      name: kind,
      status: fits ? "ok" : "warn",
      detail,
      facts: { path, need: whole, lowMemory: inTurn, available },
      ...(fits ? {} : { hint }),
    };
  } catch (error) {
    return failure(kind, error, "name a model that laurel models lists as usable");
  }
}

/** Bytes: weights of all programs and the inner tensors of the largest, or where they are held in turn the most that one takes. */
async function needOf(kind: CheckedModel["kind"], path: string, lowMemory: boolean): Promise<number> {
  const device = openDevice({ plan: true, lowMemory });
  try {
    const open = kind === "generator" ? openStableDiffusion : openImageReward;
    const model = await open(path, device);
    await model.prepare();
    const needs = [...device.needs.values()];
    const total = ({ weights, activations }: MemoryNeed): number => weights + activations;
    if (lowMemory) return Math.max(...needs.map(total));
    return (
      needs.reduce((sum, { weights }) => sum + weights, 0) + Math.max(...needs.map(({ activations }) => activations))
    );
  } finally {
    await device.close();
  }
}
