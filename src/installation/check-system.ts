/** @file Checks of what Laurel runs on: versions, processor, memory, native packages. */

import { availableParallelism, cpus, release, totalmem } from "node:os";
import { codecVersions } from "../image/decode.js";
import { PACKAGE_FOLDER, packageVersion, requiredNode } from "../pipeline/package-info.js";
import { runtimeVersions } from "../pipeline/versions.js";
import type { Device } from "../runtime/device.js";
import type { ExecutionProvider } from "../runtime/providers.js";
import { type Check, failure } from "./check.js";

/** With less than this, even the demo models' two processes may be more than a busy machine can hold. */
const LITTLE_MEMORY = 1e9;

/** Laurel, Node and the platform. */
export function checkVersions(): Check[] {
  const { laurel, platform } = runtimeVersions();
  return [
    { name: "laurel", status: "ok", detail: `${packageVersion()} in ${PACKAGE_FOLDER}`, facts: { laurel } },
    checkNode(process.versions.node, requiredNode()),
    {
      name: "platform",
      status: "ok",
      detail: `${platform}, ${process.platform} ${release()}`,
      facts: { platform, release: release() },
    },
  ];
}

/** `required` is a range of the form `>=20.19`. */
export function checkNode(version: string, required: string): Check {
  const numbers = (text: string): number[] => text.replace(/^\D+/, "").split(".").map(Number);
  const [actual, least] = [numbers(version), numbers(required)];
  const first = least.findIndex((number, i) => number !== (actual[i] ?? 0));
  const enough = first === -1 || (actual[first] ?? 0) > (least[first] ?? 0);
  return {
    name: "node",
    status: enough ? "ok" : "fail",
    detail: `${version}, Laurel needs ${required}`,
    facts: { version, required },
    ...(enough ? {} : { hint: "install a newer Node.js: https://nodejs.org" }),
  };
}

/** Cores and memory. */
export function checkMachine(threads: number, available: number = process.availableMemory()): Check[] {
  const logical = availableParallelism();
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  const little = available < LITTLE_MEMORY;
  return [
    {
      name: "processor",
      status: "ok",
      detail: `${model}, ${logical} logical cores, ${threads} threads are used`,
      facts: { model, logical, threads },
    },
    {
      name: "memory",
      status: little ? "warn" : "ok",
      detail: `${gigabytes(available)} free of ${gigabytes(totalmem())}`,
      facts: { available, total: totalmem() },
      ...(little ? { hint: "end other programs; a device process that runs out of memory is killed" } : {}),
    },
  ];
}

/** ONNX Runtime, asked in the device process: one that cannot be loaded takes only that process with it. */
export async function checkRuntime(device: Device): Promise<Check> {
  const { onnxruntime } = runtimeVersions();
  try {
    const module = new URL("../runtime/providers.js", import.meta.url);
    const providers = (await device.invoke(module, null)) as ExecutionProvider[];
    const others = providers.filter(({ name }) => name !== "cpu");
    const list = others.map(({ name, bundled }) => `${name}${bundled ? "" : " (not bundled)"}`).join(", ");
    return {
      name: "onnxruntime",
      status: "ok",
      detail: `${onnxruntime}; beside the cpu the build has ${list === "" ? "none" : list}`,
      facts: { version: onnxruntime, providers, used: "cpu" },
    };
  } catch (error) {
    return failure(
      "onnxruntime",
      error,
      "install the packages again: npm ci, without --ignore-scripts or --omit=optional",
    );
  }
}

/** sharp and what it was built with. */
export async function checkCodecs(): Promise<Check> {
  try {
    const versions = await codecVersions();
    const detail = `${versions.sharp} with libvips ${versions.vips}`;
    return { name: "sharp", status: "ok", detail, facts: versions };
  } catch (error) {
    const hint = "PNG alone can be read; install the packages again: npm ci --include=optional";
    return failure("sharp", error, hint);
  }
}
