/** @file The execution providers a device may run on, and what to do about one that is not there. */

/** What a device may run on. */
export const EXECUTION_PROVIDERS = ["cpu", "webgpu", "cuda", "dml", "coreml"] as const;

/** Name of an execution provider of ONNX Runtime. */
export type ExecutionProviderName = (typeof EXECUTION_PROVIDERS)[number];

/** What may be asked for: `auto` is the best one there is hardware for here. */
export const DEVICE_CHOICES = ["auto", ...EXECUTION_PROVIDERS] as const;

/** A provider, or `auto`. */
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

type Accelerator = Exclude<ExecutionProviderName, "cpu">;

/** Platforms whose builds of ONNX Runtime have a provider. */
const PLATFORMS: Readonly<Record<Accelerator, readonly string[]>> = {
  cuda: ["linux", "win32"],
  webgpu: ["linux", "win32", "darwin"],
  dml: ["win32"],
  coreml: ["darwin"],
};

/** The order in which `auto` tries them. WebGPU stands before DirectML and CoreML since its whole chain is tested. */
const PREFERENCE = ["cuda", "webgpu", "dml", "coreml"] as const satisfies readonly Accelerator[];

/** What to do where a provider does not answer. */
const REMEDIES: Readonly<Record<Accelerator, string>> = {
  cuda: "it needs an NVIDIA GPU with CUDA 12 and cuDNN 9; the provider is added by `npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12`",
  webgpu:
    "it needs a graphics processor and its driver (on Linux Vulkan: `vulkaninfo` lists what there is, the package libvulkan1 is needed)",
  dml: "it needs Windows and a graphics processor for DirectX 12",
  coreml: "it needs macOS",
};

/** Those that this platform's builds have, beside the cpu; the best first. */
export function acceleratorsHere(platform: string = process.platform): Accelerator[] {
  return PREFERENCE.filter((name) => PLATFORMS[name].includes(platform));
}

/** What to do about a provider that is not there, for messages. */
export function remedyOf(name: ExecutionProviderName): string {
  return name === "cpu" ? "install onnxruntime-node again" : REMEDIES[name];
}
