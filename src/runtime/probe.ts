/** @file Whether an execution provider works here, found by running a small program on it in a process of its own. */

import { graph, input, matMul, multiHeadAttention } from "../graph/builder.js";
import { encodeModel } from "../onnx/encode.js";
import { float32, type Tensor } from "../tensor/tensor.js";
import { DeviceChild } from "./device-child.js";
import { acceleratorsHere, type DeviceChoice, type ExecutionProviderName } from "./execution-providers.js";
import type { Reply, Request } from "./messages.js";

/** What a probe found. */
export interface ProviderProbe {
  readonly name: ExecutionProviderName;
  /** It ran the program. */
  readonly works: boolean;
  /** Why it does not. */
  readonly problem: string | undefined;
  /** It is so slow that no hardware can be behind it: a rasteriser in software. */
  readonly software: boolean;
  /** Milliseconds of a product of two 256 x 256 matrices, data sent and fetched; NaN where it does not work. */
  readonly productMs: number;
  /** Its fused attention gives what the formula gives. ONNX Runtime 1.30's for WebGPU is wrong where subgroups are small (4 in SwiftShader). */
  readonly fusedAttention: boolean;
}

const SIDE = 256;
/** 34 million operations: hardware takes 1 or 2 ms with the transfers, SwiftShader on two cores 180 ms. */
const SOFTWARE_MS = 50;
/**
 * Batch, tokens, heads and width of the attention that is tried: those of a small network, and no multiple of any tile. SwiftShader's is right for
 * 19 tokens of width 16 a head.
 */
const [BATCH, TOKENS, HEADS, WIDTH] = [2, 67, 4, 128] as const;
/** Values are averages of numbers in [-1, 1]; kernels differ by rounding, those that are wrong by tenths. */
const TOLERANCE = 1e-3;
/** A provider that does nothing for so long does not work. */
const STALL_MS = 60_000;

const probes = new Map<ExecutionProviderName, Promise<ProviderProbe>>();

/** Tries a provider; once for each in the life of this process. Does not throw. */
export function probeProvider(name: ExecutionProviderName): Promise<ProviderProbe> {
  const known = probes.get(name);
  if (known !== undefined) return known;
  const probe = runProbe(name);
  probes.set(name, probe);
  return probe;
}

/** What `auto` chose. */
export interface AutomaticChoice {
  readonly chosen: ExecutionProviderName;
  /** All that were tried, in order. */
  readonly probes: readonly ProviderProbe[];
}

/** The best provider with hardware here; the cpu where none has. */
export async function chooseProvider(platform?: string): Promise<AutomaticChoice> {
  const tried: ProviderProbe[] = [];
  for (const name of acceleratorsHere(platform)) {
    const probe = await probeProvider(name);
    tried.push(probe);
    if (probe.works && !probe.software) return { chosen: name, probes: tried };
  }
  return { chosen: "cpu", probes: tried };
}

/** The provider of a choice. */
export async function resolveChoice(choice: DeviceChoice): Promise<ExecutionProviderName> {
  return choice === "auto" ? (await chooseProvider()).chosen : choice;
}

async function runProbe(name: ExecutionProviderName): Promise<ProviderProbe> {
  const child = new DeviceChild(STALL_MS);
  const ask = async (request: Request): Promise<Extract<Reply, { ok: true }>> => {
    const reply = await child.request(request);
    if (!reply.ok) throw new Error(reply.message);
    return reply;
  };
  try {
    const model = encodeModel(probeGraph());
    const shared = { threads: 1, keepsMemory: true, once: false, profile: undefined };
    await ask({ kind: "compile", program: 1, model, provider: name, ...shared });
    const feeds = probeFeeds();
    const run = { kind: "run", program: 1, feeds, bound: [], hold: [], free: [] } as const;
    // the first run compiles kernels
    const { result } = await ask({ ...run, fetch: ["mixed", "product"] });
    const mixed = (result as { outputs: Record<string, Tensor> }).outputs["mixed"] as Tensor<"float32">;
    const { ms: productMs } = await ask({ ...run, fetch: ["product"] });
    const fusedAttention = agrees(mixed.data, plainAttention(feeds));
    return { name, works: true, problem: undefined, software: productMs > SOFTWARE_MS, productMs, fusedAttention };
  } catch (error) {
    const problem = shortened((error as Error).message);
    return { name, works: false, problem, software: false, productMs: Number.NaN, fusedAttention: false };
  } finally {
    child.kill();
  }
}

type Feeds = Readonly<Record<"matrix" | "q" | "k" | "v" | "mask", Tensor<"float32">>>;

const SHAPES: Readonly<Record<keyof Feeds, readonly number[]>> = {
  matrix: [SIDE, SIDE],
  q: [BATCH, TOKENS, WIDTH],
  k: [BATCH, TOKENS, WIDTH],
  v: [BATCH, TOKENS, WIDTH],
  mask: [1, 1, TOKENS, TOKENS],
};

function probeGraph() {
  const [matrix, q, k, v, mask] = (["matrix", "q", "k", "v", "mask"] as const).map((name) =>
    input(name, "float32", SHAPES[name]),
  );
  return graph("probe", {
    mixed: multiHeadAttention(q!, k!, v!, { heads: HEADS, mask: mask! }),
    product: matMul(matrix!, matrix!),
  });
}

/** Numbers in [-1, 1] without pattern. */
function probeFeeds(): Feeds {
  const values = (shape: readonly number[]): Tensor<"float32"> => {
    const count = shape.reduce((a, b) => a * b, 1);
    return float32(
      shape,
      Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * i + 4.1)),
    );
  };
  return {
    matrix: values(SHAPES.matrix),
    q: values(SHAPES.q),
    k: values(SHAPES.k),
    v: values(SHAPES.v),
    mask: values(SHAPES.mask),
  };
}

/** softmax(q k' / sqrt(size) + mask) v per head, written out. */
function plainAttention({ q, k, v, mask }: Feeds): Float64Array {
  const size = WIDTH / HEADS;
  const out = new Float64Array(BATCH * TOKENS * WIDTH);
  for (let row = 0; row < BATCH * TOKENS * HEADS; row++) {
    const [head, token] = [row % HEADS, Math.floor(row / HEADS)];
    const first = token - (token % TOKENS);
    const at = (position: number): number => position * WIDTH + head * size;
    const scores = Array.from({ length: TOKENS }, (_, key) => {
      let sum = 0;
      for (let i = 0; i < size; i++) sum += q.data[at(token) + i]! * k.data[at(first + key) + i]!;
      return Math.exp(sum / Math.sqrt(size) + mask.data[(token % TOKENS) * TOKENS + key]!);
    });
    const total = scores.reduce((a, b) => a + b, 0);
    for (let key = 0; key < TOKENS; key++) {
      for (let i = 0; i < size; i++) out[at(token) + i]! += (scores[key]! / total) * v.data[at(first + key) + i]!;
    }
  }
  return out;
}

function agrees(actual: ArrayLike<number>, expected: ArrayLike<number>): boolean {
  if (actual.length !== expected.length) return false;
  return Array.from(expected).every((value, i) => Math.abs(value - actual[i]!) <= TOLERANCE);
}

/** The last sentence of what ONNX Runtime says, without its source files and stack. */
function shortened(message: string): string {
  const line = message.split("\n").find((text) => text.trim() !== "") ?? message;
  return line.split(" was false. ").at(-1)!.trim().slice(0, 300);
}
