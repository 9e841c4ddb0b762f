/**
 * @file The optimizer's arithmetic, run inside the device process: gradient sums, norm, AdamW and the moving average, all in place.
 *
 * Only numbers cross the process boundary. Tensors live in the device's bound tensors under these names: the parameter under its own name,
 * and per parameter the gradient of the last run, the accumulated gradient, the two moments and the average (see `slot`).
 */

import { InternalError } from "../errors.js";
import type { Tensor } from "../tensor/tensor.js";
import { zeros } from "../tensor/tensor.js";

/** What is kept beside a parameter. */
export type Slot = "gradient" | "sum" | "moment1" | "moment2" | "average";

/**
 * The bound-tensor name of a parameter's slot.
 * @param owner whose moments they are, where several optimizers share parameters. @default ""
 */
export function slot(kind: Slot, parameter: string, owner = ""): string {
  return owner === "" ? `${kind}/${parameter}` : `${owner}/${kind}/${parameter}`;
}

/** One AdamW update. */
export interface StepRequest {
  readonly kind: "step";
  /** Whose moments are used. */
  readonly owner: string;
  readonly parameters: readonly string[];
  /** Parameters to which weight decay applies. */
  readonly decayed: readonly string[];
  /** How many gradients were accumulated; the update uses their mean. */
  readonly accumulated: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Largest global gradient norm; Infinity does not clip. */
  readonly clipNorm: number;
  /** Decay of the moving average for this step, or undefined without one. */
  readonly averageDecay: number | undefined;
  /** 1-based count of updates, for the bias correction. */
  readonly step: number;
}

/** What the device process is asked to do. */
export type KernelRequest =
  | {
      readonly kind: "start";
      readonly owner: string;
      readonly parameters: readonly string[];
      readonly average: boolean;
    }
  | { readonly kind: "accumulate"; readonly parameters: readonly string[]; readonly first: boolean }
  | StepRequest
  /** Parameters and averages change places. */
  | { readonly kind: "swap"; readonly parameters: readonly string[] }
  | { readonly kind: "read"; readonly names: readonly string[] }
  | { readonly kind: "write"; readonly tensors: Readonly<Record<string, Tensor>> }
  | { readonly kind: "drop"; readonly names: readonly string[] };

/** The global gradient norm before clipping, or the first parameter whose gradient is not finite (then nothing was changed). */
export interface StepResult {
  readonly norm: number;
  readonly bad: string | undefined;
}

/** Runs one request on the device's bound tensors. */
export default function kernel(context: { tensors: Map<string, Tensor> }, args: unknown): unknown {
  const request = args as KernelRequest;
  const { tensors } = context;
  switch (request.kind) {
    case "start":
      for (const name of request.parameters) {
        const parameter = require(tensors, name);
        for (const kind of ["moment1", "moment2"] as const)
          tensors.set(slot(kind, name, request.owner), zeros("float32", parameter.shape));
        if (request.average) {
          tensors.set(slot("average", name), { ...parameter, data: floats(parameter, name).slice() });
        }
      }
      return undefined;
    case "accumulate":
      for (const name of request.parameters) accumulate(tensors, name, request.first);
      return undefined;
    case "step":
      return step(tensors, request);
    case "swap":
      for (const name of request.parameters) {
        const [parameter, average] = [require(tensors, name), require(tensors, slot("average", name))];
        tensors.set(name, average);
        tensors.set(slot("average", name), parameter);
      }
      return undefined;
    case "read":
      return Object.fromEntries(request.names.map((name) => [name, require(tensors, name)]));
    case "write":
      // A copy: a received array may be a view of the whole message.
      for (const [name, value] of Object.entries(request.tensors)) {
        tensors.set(name, { ...value, data: value.data.slice() } as Tensor);
      }
      return undefined;
    case "drop":
      for (const name of request.names) tensors.delete(name);
      return undefined;
    default:
      return request satisfies never;
  }
}

function accumulate(tensors: Map<string, Tensor>, name: string, first: boolean): void {
  const gradient = floats(require(tensors, slot("gradient", name)), name);
  const key = slot("sum", name);
  const known = tensors.get(key);
  if (known === undefined) {
    tensors.set(key, { ...require(tensors, slot("gradient", name)), data: gradient.slice() });
    return;
  }
  const sum = floats(known, name);
  if (first) sum.set(gradient);
  else for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (gradient[i] as number);
}

/**
 * AdamW (Loshchilov & Hutter 2019, algorithm 2) on gradients scaled by `min(1, clipNorm / norm) / accumulated`:
 *
 *     m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
 *     p <- p - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd p)
 *     average <- d average + (1 - d) p
 */
function step(tensors: Map<string, Tensor>, request: StepRequest): StepResult {
  const source: Slot = request.accumulated > 1 ? "sum" : "gradient";
  let squares = 0;
  for (const name of request.parameters) {
    const gradient = floats(require(tensors, slot(source, name)), name);
    const partial = sumOfSquares(gradient);
    if (!Number.isFinite(partial)) return { norm: Number.NaN, bad: name };
    squares += partial;
  }
  const norm = Math.sqrt(squares) / request.accumulated;
  const scale = Math.min(1, request.clipNorm / norm) / request.accumulated;
  const decayed = new Set(request.decayed);
  for (const name of request.parameters) {
    updateParameter(
      tensors,
      request,
      name,
      Number.isFinite(scale) ? scale : 1,
      decayed.has(name) ? request.weightDecay : 0,
      source,
    );
  }
  return { norm, bad: undefined };
}

/** In four independent sums: one alone waits for its own last addition. */
function sumOfSquares(values: Float32Array): number {
  const even = values.length - (values.length % 4);
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let i = 0; i < even; i += 4) {
    const w = values[i] as number;
    const x = values[i + 1] as number;
    const y = values[i + 2] as number;
    const z = values[i + 3] as number;
    a += w * w;
    b += x * x;
    c += y * y;
    d += z * z;
  }
  for (let i = even; i < values.length; i++) a += (values[i] as number) ** 2;
  return a + b + c + d;
}

function updateParameter(
  tensors: Map<string, Tensor>,
  request: StepRequest,
  name: string,
  scale: number,
  weightDecay: number,
  source: Slot,
): void {
  const p = floats(require(tensors, name), name);
  const g = floats(require(tensors, slot(source, name)), name);
  const m = floats(require(tensors, slot("moment1", name, request.owner)), name);
  const v = floats(require(tensors, slot("moment2", name, request.owner)), name);
  const { beta1, beta2, epsilon } = request;
  const rate = request.learningRate / (1 - beta1 ** request.step);
  const unbias = 1 / Math.sqrt(1 - beta2 ** request.step);
  const keep = 1 - request.learningRate * weightDecay;
  for (let i = 0; i < p.length; i++) {
    const gradient = (g[i] as number) * scale;
    const m_t = (m[i] as number) + (1 - beta1) * (gradient - (m[i] as number));
    const v_t = (v[i] as number) + (1 - beta2) * (gradient * gradient - (v[i] as number));
    m[i] = m_t;
    v[i] = v_t;
    p[i] = (p[i] as number) * keep - (rate * m_t) / (Math.sqrt(v_t) * unbias + epsilon);
  }
  if (request.averageDecay === undefined) return;
  const average = floats(require(tensors, slot("average", name)), name);
  const share = 1 - request.averageDecay;
  for (let i = 0; i < p.length; i++)
    average[i] = (average[i] as number) + share * ((p[i] as number) - (average[i] as number));
}

function require(tensors: Map<string, Tensor>, name: string): Tensor {
  const value = tensors.get(name);
  if (value === undefined) throw new InternalError(`optimizer: expected a bound tensor "${name}", got none`);
  return value;
}

function floats(value: Tensor, name: string): Float32Array {
  if (!(value.data instanceof Float32Array)) {
    throw new InternalError(`optimizer: expected float32 for "${name}", got ${value.dtype}`);
  }
  return value.data;
}
