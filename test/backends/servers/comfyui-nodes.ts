/** @file The node classes of the ComfyUI for tests, and the checks that a real server makes before it takes a graph, made stricter. */

/** `[type]`, `[type, limits]`, or `[names]`. */
type InputSpec = readonly [string | readonly string[], { readonly min?: number; readonly max?: number }?];

/** A class of nodes. */
export interface NodeClass {
  readonly required: Readonly<Record<string, InputSpec>>;
  readonly outputs: readonly string[];
  readonly isOutput?: boolean;
}

/** A graph as it comes in. */
export type SentGraph = Record<string, { class_type: string; inputs: Record<string, unknown> }>;

export const CHECKPOINTS = ["tiny.safetensors", "sdxl/big.safetensors"];
export const SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "ddim"];
export const SCHEDULERS = ["normal", "karras", "simple"];
const SIDE = ["INT", { min: 16, max: 16_384 }] as const;

/** Those that graphs may use. */
export const CLASSES: Readonly<Record<string, NodeClass>> = {
  CheckpointLoaderSimple: { required: { ckpt_name: [CHECKPOINTS] }, outputs: ["MODEL", "CLIP", "VAE"] },
  LoraLoader: {
    required: {
      model: ["MODEL"],
      clip: ["CLIP"],
      lora_name: [["detail.safetensors", "styles/ink.safetensors"]],
      strength_model: ["FLOAT", { min: -100, max: 100 }],
      strength_clip: ["FLOAT", { min: -100, max: 100 }],
    },
    outputs: ["MODEL", "CLIP"],
  },
  CLIPSetLastLayer: {
    required: { clip: ["CLIP"], stop_at_clip_layer: ["INT", { min: -24, max: -1 }] },
    outputs: ["CLIP"],
  },
  CLIPTextEncode: { required: { text: ["STRING"], clip: ["CLIP"] }, outputs: ["CONDITIONING"] },
  EmptyLatentImage: {
    required: { width: SIDE, height: SIDE, batch_size: ["INT", { min: 1, max: 4096 }] },
    outputs: ["LATENT"],
  },
  LoadImage: { required: { image: ["FILE"] }, outputs: ["IMAGE", "MASK"] },
  LoadImageMask: { required: { image: ["FILE"], channel: [["alpha", "red", "green", "blue"]] }, outputs: ["MASK"] },
  VAEEncode: { required: { pixels: ["IMAGE"], vae: ["VAE"] }, outputs: ["LATENT"] },
  SetLatentNoiseMask: { required: { samples: ["LATENT"], mask: ["MASK"] }, outputs: ["LATENT"] },
  KSampler: {
    required: {
      seed: ["INT", { min: 0, max: 2 ** 32 - 2 }],
      steps: ["INT", { min: 1, max: 10_000 }],
      cfg: ["FLOAT", { min: 0, max: 100 }],
      sampler_name: [SAMPLERS],
      scheduler: [SCHEDULERS],
      denoise: ["FLOAT", { min: 0, max: 1 }],
      model: ["MODEL"],
      positive: ["CONDITIONING"],
      negative: ["CONDITIONING"],
      latent_image: ["LATENT"],
    },
    outputs: ["LATENT"],
  },
  VAEDecode: { required: { samples: ["LATENT"], vae: ["VAE"] }, outputs: ["IMAGE"] },
  SaveImage: { required: { images: ["IMAGE"], filename_prefix: ["STRING"] }, outputs: [], isOutput: true },
  PreviewImage: { required: { images: ["IMAGE"] }, outputs: [], isOutput: true },
};

/** What `/object_info/<class>` says; newer servers write lists of names another way. */
export function describeClass(name: string, combo: boolean): unknown {
  const found = Object.hasOwn(CLASSES, name) ? CLASSES[name] : undefined;
  if (found === undefined) return {};
  const specs = Object.entries(found.required).map(([input, [type, limits = {}]]) =>
    typeof type === "string" || !combo ? [input, [type, limits]] : [input, ["COMBO", { ...limits, options: type }]],
  );
  return {
    [name]: {
      input: { required: Object.fromEntries(specs) as unknown, hidden: { prompt: "PROMPT" } },
      output: found.outputs,
      output_node: found.isOutput === true,
      name,
    },
  };
}

/** What is wrong with a graph, by node; undefined for one that can be run. `files` are those that were uploaded. */
export function faultsOf(
  graph: SentGraph,
  files: ReadonlySet<string>,
): { type: string; message: string; details: string } | undefined {
  for (const [id, { class_type: type }] of Object.entries(graph)) {
    if (!Object.hasOwn(CLASSES, type)) {
      return {
        type: "invalid_prompt",
        message: `Cannot execute because node ${type} does not exist.`,
        details: `Node ID '#${id}'`,
      };
    }
  }
  if (!Object.values(graph).some(({ class_type: type }) => CLASSES[type]!.isOutput === true)) {
    return { type: "prompt_no_outputs", message: "Prompt has no outputs", details: "" };
  }
  const faults = Object.entries(graph).flatMap(([id, node]) => nodeFaults(graph, id, node, files));
  if (faults.length === 0) return undefined;
  return {
    type: "prompt_outputs_failed_validation",
    message: "Prompt outputs failed validation",
    details: faults.join("\n"),
  };
}

function nodeFaults(graph: SentGraph, id: string, node: SentGraph[string], files: ReadonlySet<string>): string[] {
  const { required } = CLASSES[node.class_type]!;
  const unknown = Object.keys(node.inputs).filter((input) => !Object.hasOwn(required, input));
  const wrong = Object.entries(required).flatMap(([input, spec]) => {
    const fault = inputFault(graph, node.inputs[input], spec, files);
    return fault === undefined ? [] : [`${fault}: ${input} of ${id}`];
  });
  return [...unknown.map((input) => `Unknown input: ${input} of ${id}`), ...wrong];
}

function inputFault(
  graph: SentGraph,
  value: unknown,
  [type, limits = {}]: InputSpec,
  files: ReadonlySet<string>,
): string | undefined {
  if (value === undefined) return "Required input is missing";
  if (Array.isArray(value)) {
    const [from, output] = value as [string, number];
    const given = Object.hasOwn(graph, from) ? CLASSES[graph[from]!.class_type]!.outputs[output] : undefined;
    return given === type ? undefined : "Return type mismatch between linked nodes";
  }
  if (typeof type !== "string")
    return type.includes(value as string) ? undefined : `Value not in list: '${String(value)}'`;
  if (type === "FILE") return files.has(String(value)) ? undefined : `Invalid image file: ${String(value)}`;
  if (type === "STRING") return typeof value === "string" ? undefined : "Failed to convert an input value";
  if (type !== "INT" && type !== "FLOAT") return "Bad linked input";
  if (typeof value !== "number" || (type === "INT" && !Number.isInteger(value)))
    return "Failed to convert an input value";
  if (value < (limits.min ?? -Infinity)) return `Value ${value} smaller than min`;
  return value > (limits.max ?? Infinity) ? `Value ${value} bigger than max` : undefined;
}
