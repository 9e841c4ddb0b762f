/** @file A worker: takes jobs of a queue, draws and scores with the models of its machine, and leaves what it made in the storage. */

import type { ImageBackend, ImageRequest } from "../backends/contract.js";
import { HttpError } from "../backends/http/error.js";
import { BackendError, CancelledError, LaurelError, ModelError, UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import type { ModelRecord, ModelRecords } from "../pipeline/manifest.js";
import {
  failureOf,
  JobError,
  type Json,
  type JobQueue,
  type QueueWorker,
  type TakenJob,
  type WorkOptions,
} from "../queue/contract.js";
import type { Reward } from "../rewards/contract.js";
import { type Storage, StorageError } from "../storage/contract.js";
import { redact } from "../util/secret.js";
import { Artefacts } from "./artefacts.js";
import {
  describedBackendSchema,
  describedRewardSchema,
  drawnSchema,
  type ExpectedModel,
  type Job,
  jobSchema,
  LOST_PICTURE,
  queueOf,
  scoredSchema,
  speaker,
  type StoredPicture,
  type TravellingChoice,
  type TravellingRequest,
} from "./protocol.js";

/** What a worker can do. Models are opened when a job needs them, and kept. */
export interface WorkerMeans {
  /** Opens what draws for a capability, with what a manifest says of it. */
  readonly backend: (capability: string) => Promise<{ readonly backend: ImageBackend; readonly record: ModelRecord }>;
  /** Opens what scores. */
  readonly reward: (
    choice: TravellingChoice,
  ) => Promise<{ readonly reward: Reward; readonly records: Omit<ModelRecords, "backend"> }>;
  /** Gives models back whose device died: the next job opens them anew. */
  readonly reset: () => Promise<void>;
}

/** How a worker works. */
export interface WorkerOptions extends WorkOptions {
  /** Folder in which files from the storage are kept. */
  readonly files: string;
}

/**
 * Works on the jobs of `capabilities` until it is closed.
 * @throws QueueError, StorageError when they cannot be used; UsageError for a capability that names none
 */
export async function startWorker(
  queue: JobQueue,
  storage: Storage,
  capabilities: readonly string[],
  means: WorkerMeans,
  options: WorkerOptions,
): Promise<QueueWorker> {
  const queues = new Map(capabilities.map((capability) => [queueOf(capability), capability]));
  await Promise.all([queue.ready(), storage.probe()]);
  const executor = new Executor(new Artefacts(storage), means, options);
  return queue.work([...queues.keys()], (job) => executor.execute(job, queues.get(job.queue) ?? job.queue), options);
}

/** Does jobs. */
class Executor {
  /** Counts up when the models were given back. */
  #generation = 0;

  constructor(
    private readonly artefacts: Artefacts,
    private readonly means: WorkerMeans,
    private readonly options: WorkerOptions,
  ) {}

  /** Does a job, or takes what was made of it before. @throws JobError saying whether another try may help */
  async execute({ id, data, signal }: TakenJob, capability: string): Promise<Json> {
    const generation = this.#generation;
    try {
      const job = this.#parse(id, data);
      return (await this.#execute(id, job, capability, signal)) as Json;
    } catch (error) {
      // of all who lose their device together, the first has it opened anew
      if (isDevice(error) && generation === this.#generation) {
        this.#generation++;
        await this.means.reset();
      }
      throw jobError(error, this.options.name);
    }
  }

  async #execute(id: string, job: Job, capability: string, signal: AbortSignal): Promise<object> {
    switch (job.kind) {
      case "describe-backend":
        return this.#describeBackend(job.probe, capability);
      case "describe-reward":
        return this.#describeReward(job.probe, job.choice);
      case "draw":
        return (await this.artefacts.value(id, drawnSchema, { signal })) ?? this.#draw(id, job, capability, signal);
      case "score":
        return (await this.artefacts.value(id, scoredSchema, { signal })) ?? this.#score(id, job, signal);
      default:
        return job satisfies never;
    }
  }

  async #draw(
    id: string,
    { request, expect }: Extract<Job, { kind: "draw" }>,
    capability: string,
    signal: AbortSignal,
  ): Promise<object> {
    const { backend, record } = await this.means.backend(capability);
    this.#expectModel(record, expect);
    const images: object[] = [];
    const warnings = new Set<string>();
    for await (const group of backend.generate(await this.#request(request, signal), { signal })) {
      for (const message of group.warnings) warnings.add(message);
      for (const { image, seed, evaluations, reportedSeed, revisedPrompt, source } of group.images) {
        const picture = await this.artefacts.putPicture(image, { signal });
        images.push(said({ ...picture, seed, evaluations, reportedSeed, revisedPrompt, source }));
      }
    }
    return this.#keep(id, { images, warnings: [...warnings] }, signal);
  }

  async #score(
    id: string,
    { choice, expect, prompt, images }: Extract<Job, { kind: "score" }>,
    signal: AbortSignal,
  ): Promise<object> {
    const { reward, records } = await this.means.reward(choice);
    this.#expectModel(records.reward, expect);
    const pictures = await Promise.all(images.map((image) => this.#picture(image, signal)));
    const { scores, warnings, members, heldOut } = await reward.score(prompt, pictures, { signal });
    return this.#keep(
      id,
      said({ scores: finite(scores), warnings, members: byName(members), heldOut: byName(heldOut) }),
      signal,
    );
  }

  async #keep<T extends object>(id: string, value: T, signal: AbortSignal): Promise<T> {
    await this.artefacts.putValue(id, value as Json, { signal });
    return value;
  }

  async #describeBackend(probe: string, capability: string): Promise<object> {
    const { backend, record } = await this.means.backend(capability);
    const { name, capabilities, defaults } = backend;
    const answer = {
      ...(await this.#answer(probe)),
      ...{ name, record, capabilities: said(capabilities), defaults: said(defaults) },
    };
    return describedBackendSchema.parse(answer);
  }

  async #describeReward(probe: string, choice: TravellingChoice): Promise<object> {
    const { reward, records } = await this.means.reward(choice);
    const { name, model, range, reference } = reward;
    const answer = { ...(await this.#answer(probe)), name, model: model.name, range, reference, records };
    return describedRewardSchema.parse(said(answer));
  }

  /** Who answers, after a look at the submitter's storage. */
  async #answer(probe: string): Promise<object> {
    const { storage } = this.artefacts;
    if (!(await storage.has(probe))) {
      throw new UsageError(
        `${storage.address}: expected the storage of the submitter, got one in which its probe is not`,
      );
    }
    await storage.put(`${probe}-seen`, Buffer.from(this.options.name));
    return { ...speaker(), now: new Date().toISOString(), worker: this.options.name };
  }

  async #request(travelling: TravellingRequest, signal: AbortSignal): Promise<ImageRequest> {
    const { init, mask, embeddings, loras, ...rest } = travelling;
    const file = (one: { readonly name: string; readonly sha256: string }): Promise<string> =>
      this.artefacts.file(one, this.options.files, { signal });
    return {
      prompt: rest.prompt,
      seed: rest.seed,
      count: rest.count,
      batch: rest.batch,
      negativePrompt: rest.negativePrompt ?? undefined,
      steps: rest.steps ?? undefined,
      guidance: rest.guidance ?? undefined,
      sampler: rest.sampler ?? undefined,
      width: rest.width ?? undefined,
      height: rest.height ?? undefined,
      strength: rest.strength ?? undefined,
      promptSyntax: rest.promptSyntax ?? undefined,
      clipSkip: rest.clipSkip ?? undefined,
      loraAnneal: rest.loraAnneal ?? undefined,
      init: init === null ? undefined : await this.#picture(init, signal),
      mask: mask === null ? undefined : await this.#picture(mask, signal),
      embeddings: embeddings.length === 0 ? undefined : await Promise.all(embeddings.map(file)),
      loras:
        loras.length === 0
          ? undefined
          : await Promise.all(loras.map(async ({ scale, ...one }) => ({ path: await file(one), scale }))),
    };
  }

  async #picture(picture: StoredPicture, signal: AbortSignal): Promise<RgbImage> {
    const image = await this.artefacts.picture(picture, { signal });
    if (image !== undefined) return image;
    const message = `${this.artefacts.storage.address}: expected the picture ${picture.key}, got none or another`;
    // who gave the job has it, and puts it there again
    throw new JobError({ name: LOST_PICTURE, message }, false);
  }

  #parse(id: string, data: object): Job {
    const { protocol, laurel } = speaker();
    const theirs = data as { protocol?: unknown; laurel?: unknown };
    if (theirs.protocol !== protocol || theirs.laurel !== laurel) {
      throw new VersionError(
        `${this.options.name}: expected a job of Laurel ${laurel} (protocol ${protocol}), which this worker runs, got one of a submitter with Laurel ${String(theirs.laurel)} (protocol ${String(theirs.protocol)}); both have to run the same`,
      );
    }
    const parsed = jobSchema.safeParse(data);
    if (parsed.success) return parsed.data;
    const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "job"}: ${issue.message}`);
    throw new UsageError(`job ${id}: expected one that a submitter of this version makes, got ${faults.join("; ")}`);
  }

  #expectModel(actual: ModelRecord, expected: ExpectedModel): void {
    const same = actual.name === expected.name && actual.digest === expected.digest;
    if (same && (actual.digest !== null || actual.model === expected.model)) return;
    const described = ({ name, model, digest }: ExpectedModel): string =>
      `${name} ${model} (${digest?.slice(0, 12) ?? "no digest"})`;
    throw new ModelError(
      `${this.options.name}: expected the model of the other workers, ${described(expected)}, got ${described(actual)}`,
    );
  }
}

/** What a device that died says. */
function isDevice(error: unknown): boolean {
  return error instanceof BackendError && !(error instanceof HttpError || error instanceof StorageError);
}

/** A submitter and a worker of different versions. */
class VersionError extends LaurelError {
  override readonly name = "VersionError";
}

/** How a job's failure is told, and whether the same again may end well. */
function jobError(error: unknown, worker: string): unknown {
  if (error instanceof JobError) return error;
  const { name, message } = failureOf(error);
  const failure = { name, message: redact(message) };
  if (error instanceof CancelledError) return new JobError(failure, true, { cause: error });
  // another worker may have the model, the version or the right to write
  if (error instanceof VersionError) return new JobError(failure, "elsewhere", { cause: error });
  if (error instanceof ModelError || (error instanceof StorageError && error.fault === "denied")) {
    return new JobError({ ...failure, message: `${worker}: ${failure.message}` }, "elsewhere", { cause: error });
  }
  if (error instanceof HttpError) return new JobError(failure, error.transient, { cause: error });
  return new JobError(failure, error instanceof BackendError || !(error instanceof LaurelError), { cause: error });
}

/** Without what is undefined: JSON has no place for it. */
function said<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}

function finite(scores: readonly number[]): (number | null)[] {
  return scores.map((score) => (Number.isFinite(score) ? score : null));
}

function byName(scores: Readonly<Record<string, readonly number[]>> | undefined): object | undefined {
  return scores && Object.fromEntries(Object.entries(scores).map(([name, values]) => [name, finite(values)]));
}
