/** @file One picture from a ComfyUI server: the request put into the graph, the prompt sent, the file fetched. */

import { randomUUID } from "node:crypto";
import type { GeneratedGroup, ImageRequest } from "../contract.js";
import type { GroupOptions, SeedGroup } from "../groups.js";
import type { HttpServer } from "../http/client.js";
import { HttpError } from "../http/error.js";
import { decodeReceived, sizeWarning } from "../received.js";
import { samplerValues, type ServerSamplers } from "../server-samplers.js";
import { defined, type SlotValues, type Template, withFreshOutput } from "./graph.js";
import type { Outcome, OutputFile, Prompts } from "./job.js";
import { unreadSyntax, writtenPrompt } from "./prompt.js";
import type { UploadedInputs } from "./upload.js";

/** What all pictures of a request share. */
export interface Drawing {
  readonly server: HttpServer;
  readonly template: Template;
  readonly prompts: Prompts;
  readonly known: ServerSamplers;
  /** Noise schedule for samplers that say none. */
  readonly schedule: string | undefined;
  readonly request: ImageRequest;
  readonly inputs: UploadedInputs;
}

type Done = Extract<Outcome, { kind: "done" }>;

/** Times a picture is drawn again that was lost or interrupted at the server. */
const REDRAWS = 2;

/** Draws a group, each picture as a prompt of its own. @throws HttpError, CancelledError */
export async function drawEach(
  drawing: Drawing,
  { seed, count }: SeedGroup,
  given: GroupOptions,
): Promise<GeneratedGroup> {
  const drawn = await Promise.allSettled(
    Array.from({ length: count }, (_, i) => drawPicture(drawing, seed + i, given)),
  );
  const failed = drawn.find((one) => one.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  const groups = drawn.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  return { images: groups.flatMap(({ images }) => images), warnings: groups.flatMap(({ warnings }) => warnings) };
}

async function drawPicture(drawing: Drawing, seed: number, given: GroupOptions): Promise<GeneratedGroup> {
  const { server, template, prompts, request } = drawing;
  const graph = template.fill(valuesOf(drawing, seed));
  const { onProgress, total } = progressOf(request, given);
  let next = graph;
  for (let redraws = 0; ; redraws++) {
    const outcome = await prompts.run(next, { signal: given.signal, output: template.output, onProgress });
    if (outcome.kind === "done") {
      const bytes = await fetchFirst(server, outcome.files, given.signal);
      if (bytes !== undefined) {
        const group = await groupOf(drawing, seed, outcome, bytes);
        given.onProgress({ step: total(), steps: total(), candidates: 1 });
        return group;
      }
    }
    if (redraws >= REDRAWS) throw server.fault(...reasonOf(outcome, template.output));
    if (outcome.kind !== "done") continue;
    // the server names a file that it wrote before and that is gone: it has to write another one
    const fresh = withFreshOutput(graph, template.output, randomUUID().slice(0, 8));
    if (fresh === undefined) throw server.fault(...reasonOf(outcome, template.output));
    next = fresh;
  }
}

function reasonOf(outcome: Outcome, output: string): [fault: HttpError["fault"], message: string] {
  if (outcome.kind === "interrupted") {
    return ["unavailable", "prompt: expected a finished picture, got one that was interrupted at the server"];
  }
  if (outcome.kind === "lost") {
    return [
      "unavailable",
      "prompt: expected it in the queue or the history, got neither; was the server restarted, or its queue cleared?",
    ];
  }
  const file = outcome.files[0]?.filename;
  const actual = file === undefined ? "none" : `the name of a file that is not there (${file})`;
  return ["bad-response", `prompt: expected a picture from node ${output}, got ${actual}`];
}

/** What goes into the graph for one seed. */
function valuesOf({ template, known, schedule, request, inputs }: Drawing, seed: number): SlotValues {
  const { prompt, negativePrompt, promptSyntax, guidance, width, height, clipSkip } = request;
  const values: SlotValues = {
    prompt: writtenPrompt(prompt, promptSyntax),
    negative: negativePrompt === undefined ? undefined : writtenPrompt(negativePrompt, promptSyntax),
    seed,
    cfg: guidance,
    width,
    height,
    clip_skip: clipSkip === undefined ? undefined : -clipSkip,
    ...samplerValues(request.sampler, schedule, known),
    ...stepsOf(request, template),
    ...inputs,
  };
  return defined(values);
}

/**
 * The sampler's steps and its `denoise`. ComfyUI takes all the steps it is told on the last `denoise` of the way; Laurel's strength takes the last part of
 * the steps. Where both can be told, `floor(steps * strength)` steps are asked for, on the share of the way that they are.
 */
function stepsOf({ steps, strength }: ImageRequest, { places }: Template): Pick<SlotValues, "steps" | "denoise"> {
  if (strength === undefined || !places.has("denoise")) return { steps };
  if (steps === undefined) return { denoise: strength };
  const taken = Math.max(1, Math.floor(steps * strength));
  // ComfyUI finds the whole number of steps as int(taken / denoise): a hair above is cut down to it, a hair below would be one less
  return { steps: taken, denoise: taken === steps ? 1 : (taken / steps) * (1 - 1e-9) };
}

/** Progress as steps of the request: of however many nodes that count, and never backwards. */
function progressOf(
  { steps }: ImageRequest,
  { onProgress, signal }: GroupOptions,
): { readonly onProgress: (value: number, maximum: number) => void; readonly total: () => number } {
  let total = steps ?? 1;
  let last = 0;
  return {
    total: () => total,
    onProgress(value, maximum) {
      if (!(maximum > 0) || signal.aborted) return;
      if (steps === undefined && last === 0) total = Math.round(maximum);
      const step = Math.min(Math.floor((value / maximum) * total), total - 1);
      if (step <= last) return;
      last = step;
      onProgress({ step, steps: total, candidates: 1 });
    },
  };
}

/** The first file's bytes; undefined when there is none, or none any more. */
async function fetchFirst(
  server: HttpServer,
  files: readonly OutputFile[],
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const [file] = files;
  if (file === undefined) return undefined;
  const { filename, subfolder, type } = file;
  try {
    return (await server.request(`view?${new URLSearchParams({ filename, subfolder, type }).toString()}`, { signal }))
      .bytes;
  } catch (error) {
    if (error instanceof HttpError && error.status === 404) return undefined;
    throw error;
  }
}

async function groupOf(
  { server, template, request }: Drawing,
  seed: number,
  { files, graph, warnings }: Done,
  bytes: Uint8Array,
): Promise<GeneratedGroup> {
  const { name } = server;
  const image = await decodeReceived(bytes, `${name}: view: ${files[0]!.filename}`);
  const reportedSeed = seedIn(graph, template);
  return {
    images: [{ seed, image, evaluations: 0, reportedSeed, source: name }],
    warnings: [
      ...warnings,
      ...ignoredSettings(name, template, request),
      ...sizeWarning(name, request, image),
      ...(files.length > 1
        ? [
            `${name}: expected one picture a seed, got ${files.length}; the first is taken: let the workflow draw a batch of 1`,
          ]
        : []),
      ...(reportedSeed !== null && reportedSeed !== seed
        ? [`${name}: expected seeds from ${request.seed}, got ${reportedSeed} instead of ${seed}`]
        : []),
    ],
  };
}

/** What of a request the graph has no place for. */
function ignoredSettings(name: string, { places }: Template, request: ImageRequest): string[] {
  const unread = new Set(
    [request.prompt, request.negativePrompt].flatMap((text) => unreadSyntax(text, request.promptSyntax)),
  );
  return [
    ...(places.has("seed")
      ? []
      : [`${name}: the workflow takes no seeds: the same request may give other pictures, or the same for all seeds`]),
    ...(request.strength !== undefined && !places.has("denoise")
      ? [
          `${name}: strength is not supported by the workflow (no slot denoise) and was left out, got ${request.strength}`,
        ]
      : []),
    ...(unread.size > 0 ? [`${name}: ComfyUI takes ${[...unread].join(", ")} in a prompt for plain words`] : []),
  ];
}

/** The seed of the graph that the server kept: extensions may change it on the way. */
function seedIn(graph: unknown, { places }: Template): number | null {
  const place = places.get("seed")?.[0];
  if (place === undefined) return null;
  const node = (graph as Record<string, { inputs?: Record<string, unknown> } | undefined> | undefined)?.[place.node];
  const seed = node?.inputs?.[place.input];
  return typeof seed === "number" ? seed : null;
}
