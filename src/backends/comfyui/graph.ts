/** @file ComfyUI's graphs in API format, and the one Laurel draws with where the user brings none. */

import type { ServerLora } from "../server-names.js";

/** A node: its class and its inputs, each a value or a link `[node, output]`. */
export interface GraphNode {
  readonly class_type: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** Nodes by id. */
export type Graph = Readonly<Record<string, GraphNode>>;

/**
 * What can be put into a graph. `negative` is the negative prompt, `cfg` the guidance scale, `denoise` the share of the way that is gone from a picture,
 * `clip_skip` the text encoder's layer counted from the end, negative as ComfyUI counts it; `image` and `mask` are names of uploaded files.
 */
export const SLOTS = [
  "prompt",
  "negative",
  "seed",
  "steps",
  "cfg",
  "sampler",
  "scheduler",
  "width",
  "height",
  "denoise",
  "clip_skip",
  "model",
  "image",
  "mask",
] as const;

/** A place in a graph that a setting goes to. */
export type Slot = (typeof SLOTS)[number];

/** What goes into the slots; undefined leaves a slot as it is. */
export type SlotValues = { readonly [Name in Slot]?: string | number | undefined };

/** An input of a node. */
export interface Place {
  readonly node: string;
  readonly input: string;
}

/** A graph with slots. */
export interface Template {
  /** What it draws with, as records name it. */
  readonly model: string;
  /** The graph before anything is put in. */
  readonly graph: Graph;
  readonly places: ReadonlyMap<Slot, readonly Place[]>;
  /** What a slot holds where nothing is put in. */
  readonly own: SlotValues;
  /** Slots that cannot be left empty. */
  readonly required: readonly Slot[];
  /** The node whose picture is taken. */
  readonly output: string;
  fill(values: SlotValues): Graph;
}

/** What the built-in graph draws with where nothing is said. */
export const BUILTIN_DEFAULTS = {
  negative: "",
  steps: 20,
  cfg: 7,
  sampler: "euler",
  scheduler: "normal",
  width: 512,
  height: 512,
  denoise: 1,
  clip_skip: -1,
} as const satisfies SlotValues;

/**
 * The built-in graph for a checkpoint: text to picture; with `image` from a picture, with `mask` as well repainting under it. Pictures go to the
 * server's temporary folder, so that its output folder is left alone.
 */
export function builtinTemplate(model: string, loras: readonly ServerLora[]): Template {
  const fill = (values: SlotValues): Graph => builtinGraph(model, loras, values);
  return {
    model,
    graph: fill({}),
    places: BUILTIN_PLACES,
    own: BUILTIN_DEFAULTS,
    required: [],
    output: "save",
    fill,
  };
}

const BUILTIN_PLACES: Template["places"] = new Map<Slot, readonly Place[]>([
  ["prompt", [{ node: "positive", input: "text" }]],
  ["negative", [{ node: "negative", input: "text" }]],
  ["seed", [{ node: "sampler", input: "seed" }]],
  ["steps", [{ node: "sampler", input: "steps" }]],
  ["cfg", [{ node: "sampler", input: "cfg" }]],
  ["sampler", [{ node: "sampler", input: "sampler_name" }]],
  ["scheduler", [{ node: "sampler", input: "scheduler" }]],
  ["width", [{ node: "size", input: "width" }]],
  ["height", [{ node: "size", input: "height" }]],
  ["denoise", [{ node: "sampler", input: "denoise" }]],
  ["clip_skip", [{ node: "layer", input: "stop_at_clip_layer" }]],
  ["image", [{ node: "picture", input: "image" }]],
  ["mask", [{ node: "mask", input: "image" }]],
]);

function builtinGraph(model: string, loras: readonly ServerLora[], given: SlotValues): Graph {
  const values = { ...BUILTIN_DEFAULTS, ...defined(given) };
  const graph: Record<string, GraphNode> = {};
  const add = (id: string, type: string, inputs: GraphNode["inputs"]): void => {
    graph[id] = { class_type: type, inputs };
  };
  add("checkpoint", "CheckpointLoaderSimple", { ckpt_name: model });
  let unet: readonly [string, number] = ["checkpoint", 0];
  let clip: readonly [string, number] = ["checkpoint", 1];
  const vae = ["checkpoint", 2];
  for (const [i, { name, scale = 1 }] of loras.entries()) {
    add(`lora${i}`, "LoraLoader", { model: unet, clip, lora_name: name, strength_model: scale, strength_clip: scale });
    unet = [`lora${i}`, 0];
    clip = [`lora${i}`, 1];
  }
  if (values.clip_skip !== -1) {
    add("layer", "CLIPSetLastLayer", { clip, stop_at_clip_layer: values.clip_skip });
    clip = ["layer", 0];
  }
  add("positive", "CLIPTextEncode", { text: values.prompt ?? "", clip });
  add("negative", "CLIPTextEncode", { text: values.negative, clip });
  add("sampler", "KSampler", {
    seed: values.seed ?? 0,
    steps: values.steps,
    cfg: values.cfg,
    sampler_name: values.sampler,
    scheduler: values.scheduler,
    denoise: values.denoise,
    model: unet,
    positive: ["positive", 0],
    negative: ["negative", 0],
    latent_image: [addStart(add, values, vae), 0],
  });
  add("decode", "VAEDecode", { samples: ["sampler", 0], vae });
  add("save", "PreviewImage", { images: ["decode", 0] });
  return graph;
}

/** The latents to start from: empty ones, or those of a picture. Returns the node that gives them. */
function addStart(
  add: (id: string, type: string, inputs: GraphNode["inputs"]) => void,
  { image, mask, width, height }: SlotValues,
  vae: readonly unknown[],
): string {
  if (image === undefined) {
    add("size", "EmptyLatentImage", { width, height, batch_size: 1 });
    return "size";
  }
  add("picture", "LoadImage", { image });
  add("encode", "VAEEncode", { pixels: ["picture", 0], vae });
  if (mask === undefined) return "encode";
  add("mask", "LoadImageMask", { image: mask, channel: "red" });
  add("repaint", "SetLatentNoiseMask", { samples: ["encode", 0], mask: ["mask", 0] });
  return "repaint";
}

/**
 * The graph, written so that the server draws its picture anew instead of naming a file it wrote before: under another name. undefined for an output
 * node whose name cannot be changed.
 */
export function withFreshOutput(graph: Graph, output: string, mark: string): Graph | undefined {
  const node = graph[output];
  if (node === undefined) return undefined;
  const { images, filename_prefix: prefix } = node.inputs;
  const inputs =
    typeof prefix === "string"
      ? { ...node.inputs, filename_prefix: `${prefix}-${mark}` }
      : node.class_type === "PreviewImage"
        ? { images, filename_prefix: `laurel/${mark}` }
        : undefined;
  if (inputs === undefined) return undefined;
  const type = node.class_type === "PreviewImage" ? "SaveImage" : node.class_type;
  return { ...graph, [output]: { ...node, class_type: type, inputs } };
}

/** The entries that are not undefined. */
export function defined<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}
