/** @file The prompt of a picture that ComfyUI saved: from the node that saves, over the sampler, to the text. */

/** What a graph says of its picture. */
export interface GraphPrompt {
  readonly prompt: string;
  readonly negativePrompt: string | undefined;
  /** As the sampler has it, of whatever type. */
  readonly seed: unknown;
}

/** A node's inputs: values, and links `[node, output]`. */
type Inputs = Readonly<Record<string, unknown>>;
type Graph = Readonly<Record<string, unknown>>;

/** Nodes that are visited for one question, at most: graphs of thousands of nodes exist, endless ones do not. */
const MAXIMUM_NODES = 4096;
/** Nodes that a joined text is made of, at most, and its length. */
const MAXIMUM_JOINED = 16;
const MAXIMUM_TEXT = 1 << 20;
/** Inputs that hold a text, in nodes for text; the first that is there counts. */
const TEXTS = ["text", "text_g", "t5xxl", "clip_l", "string", "value", "prompt", "positive", "populated_text"];
/** Inputs that join texts. */
const JOINED = ["string_a", "string_b"];
/** Inputs that lead on to the conditioning, in nodes that change or join it. */
const CONDITIONINGS = [
  "conditioning",
  "conditioning_1",
  "conditioning_2",
  "conditioning_to",
  "conditioning_from",
  "cond1",
  "cond2",
];

/**
 * The prompt that leads to the picture of an API graph (the PNG text `prompt`). From the nodes that nothing follows, such as SaveImage, links are walked back to the
 * samplers that draw for them; of each the `positive` input, or that of its `guider`, is followed to its text. A graph that draws, saves or joins several different prompts
 * does not tell which is the picture's.
 * @returns why there is none: `missing`
 */
export function promptOfGraph(graph: Graph): GraphPrompt | { readonly missing: string } {
  const samplers = samplersOf(graph);
  if (samplers.length === 0) return { missing: "its ComfyUI graph has no sampler with a prompt" };
  const found = samplers.map((inputs) => {
    const { positive, negative } = conditionings(graph, inputs);
    return { positive: textsOf(graph, positive), negative: textsOf(graph, negative), inputs };
  });
  const prompts = new Set(found.flatMap(({ positive }) => positive));
  const [prompt] = prompts;
  if (prompt === undefined) return { missing: "the prompt of its ComfyUI graph is no text that can be followed" };
  if (prompts.size > 1) return { missing: "its ComfyUI graph draws several prompts" };
  const { negative, inputs } = found.find(({ positive }) => positive.includes(prompt))!;
  const seed = inputs["seed"] ?? inputs["noise_seed"] ?? inputsOf(graph, inputs["noise"])?.["noise_seed"];
  return { prompt, negativePrompt: negative.length === 1 ? negative[0] : undefined, seed };
}

/** The samplers nearest to the nodes that save; where no node saves, all. */
function samplersOf(graph: Graph): Inputs[] {
  const linked = new Set<string>();
  const nodes = Object.keys(graph).slice(0, MAXIMUM_NODES);
  for (const id of nodes) for (const value of links(inputsAt(graph, id))) linked.add(value[0]);
  const ends = nodes.filter((id) => !linked.has(id) && inputsAt(graph, id)?.["images"] !== undefined);
  const found = new Map<string, Inputs>();
  const seen = new Set<string>();
  const queue = ends.length > 0 ? ends : nodes;
  for (let next = 0; next < queue.length && next < MAXIMUM_NODES; next++) {
    const id = queue[next]!;
    if (seen.has(id)) continue;
    seen.add(id);
    const inputs = inputsAt(graph, id);
    if (inputs === undefined) continue;
    const { positive } = conditionings(graph, inputs);
    if (positive !== undefined && isSampler(inputs)) found.set(id, inputs);
    else if (ends.length > 0) queue.push(...links(inputs).map(([to]) => to));
  }
  return [...found.values()];
}

/** A node that draws; one that only hands conditionings on, such as ControlNetApplyAdvanced, has none of these inputs. */
function isSampler(inputs: Inputs): boolean {
  return ["latent_image", "samples", "sampler", "seed", "noise_seed", "steps"].some((name) => name in inputs);
}

/** What a sampler draws and what it avoids: its own inputs, or those of its guider. */
function conditionings(graph: Graph, inputs: Inputs): { readonly positive: unknown; readonly negative: unknown } {
  const guider = inputsOf(graph, inputs["guider"]);
  const from = guider ?? inputs;
  const positive = from["positive"] ?? (guider === undefined ? undefined : (from["conditioning"] ?? from["cond1"]));
  return { positive: isLink(positive) ? positive : undefined, negative: from["negative"] };
}

/** The different texts that a conditioning is made of. @param budget of nodes, for the texts that are joined, too */
function textsOf(graph: Graph, link: unknown, budget = { left: MAXIMUM_NODES }): string[] {
  const texts = new Set<string>();
  const queue = [link];
  const seen = new Set<string>();
  for (let next = 0; next < queue.length && budget.left > 0; next++, budget.left--) {
    const at = queue[next];
    if (typeof at === "string" && at.trim() !== "") texts.add(at.trim());
    if (!isLink(at) || seen.has(`${at[0]} ${at[1]}`)) continue;
    seen.add(`${at[0]} ${at[1]}`);
    const inputs = inputsAt(graph, at[0]);
    if (inputs !== undefined) queue.push(...onwards(graph, inputs, at[1], budget));
  }
  return [...texts];
}

/** Where the text behind an output of a node comes from. */
function onwards(graph: Graph, inputs: Inputs, output: number, budget: { left: number }): unknown[] {
  // a ControlNet hands both conditionings on: the first output is the positive one
  if (isLink(inputs["positive"]) && isLink(inputs["negative"])) return [inputs[output === 1 ? "negative" : "positive"]];
  const conditioning = CONDITIONINGS.flatMap((name) => (isLink(inputs[name]) ? [inputs[name]] : []));
  if (conditioning.length > 0) return conditioning;
  budget.left--;
  const joined = JOINED.flatMap((name) =>
    textsOf(graph, inputs[name], { left: Math.min(budget.left, MAXIMUM_JOINED) }),
  );
  const length = joined.reduce((sum, text) => sum + text.length, 0);
  if (length > MAXIMUM_TEXT) return [];
  if (length > 0) return [joined.join(typeof inputs["delimiter"] === "string" ? inputs["delimiter"] : " ")];
  const text = TEXTS.map((name) => inputs[name]).find((value) => typeof value === "string" || isLink(value));
  // a node that only passes on has one link and nothing else
  const others = Object.values(inputs);
  return [text ?? (others.length === 1 ? others[0] : undefined)];
}

function links(inputs: Inputs | undefined): [string, number][] {
  return Object.values(inputs ?? {}).filter(isLink);
}

function isLink(value: unknown): value is [string, number] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "number";
}

function inputsOf(graph: Graph, link: unknown): Inputs | undefined {
  return isLink(link) ? inputsAt(graph, link[0]) : undefined;
}

function inputsAt(graph: Graph, id: string): Inputs | undefined {
  const node = Object.hasOwn(graph, id) ? graph[id] : undefined;
  const inputs = typeof node === "object" && node !== null ? (node as { inputs?: unknown }).inputs : undefined;
  return typeof inputs === "object" && inputs !== null && !Array.isArray(inputs) ? (inputs as Inputs) : undefined;
}
