/** @file A backend whose pictures are drawn by the workers of a queue. */

import type {
  BackendCapabilities,
  GeneratedGroup,
  GenerateOptions,
  ImageBackend,
  ImageRequest,
} from "../backends/contract.js";
import { drawGroups } from "../backends/groups.js";
import { checkRequest } from "../backends/resolve.js";
import type { RgbImage } from "../image/types.js";
import type { ModelRecord } from "../pipeline/manifest.js";
import type { ModelIdentity } from "../weights/identity.js";
import type { Dispatcher } from "./dispatch.js";
import {
  type Drawn,
  drawnSchema,
  type ExpectedModel,
  speaker,
  type StoredPicture,
  type TravellingRequest,
} from "./protocol.js";

/** What a worker says of its backend. */
export interface DescribedBackend {
  readonly name: string;
  readonly record: ModelRecord;
  readonly capabilities: Omit<BackendCapabilities, "concurrency">;
  readonly defaults: ImageBackend["defaults"];
}

/** A backend as workers describe it. Each group is a job, at most `inFlight` of them at once. */
export class QueueBackend implements ImageBackend {
  readonly name: string;
  readonly model: ModelIdentity;
  readonly capabilities: BackendCapabilities;
  readonly defaults: ImageBackend["defaults"];
  readonly #expect: ExpectedModel;

  constructor(
    private readonly dispatcher: Dispatcher,
    /** What a worker must be able to do. */
    private readonly capability: string,
    { name, record, capabilities, defaults }: DescribedBackend,
    private readonly inFlight: number,
  ) {
    this.name = name;
    this.model = { name: record.model, path: undefined, digest: record.digest };
    // a job is given up wherever it is drawn
    this.capabilities = { ...capabilities, cancel: "drawing", concurrency: inFlight };
    this.defaults = defaults;
    this.#expect = { name: record.name, model: record.model, digest: record.digest };
  }

  /** As every backend does. Throws as `Dispatcher.run` does, too. */
  async *generate(request: ImageRequest, options: GenerateOptions = {}): AsyncGenerator<GeneratedGroup, void> {
    checkRequest(this, request);
    const common = await this.#travelling(request, options.signal);
    const given = [request.init, request.mask].filter((image) => image !== undefined);
    yield* drawGroups(request, this.inFlight, options, ({ seed, count }, { signal }) =>
      this.dispatcher.run(
        this.capability,
        { kind: "draw", ...speaker(), expect: this.#expect, request: { ...common, seed, count, batch: count } },
        drawnSchema,
        (drawn) => this.#group(drawn, signal),
        signal,
        given,
      ),
    );
  }

  /** The workers' models stay with them. */
  dispose(): Promise<void> {
    return Promise.resolve();
  }

  async #group({ images, warnings }: Drawn, signal: AbortSignal): Promise<GeneratedGroup | undefined> {
    const { artefacts } = this.dispatcher;
    const drawn = await Promise.all(
      images.map(async ({ seed, evaluations, reportedSeed, revisedPrompt, source, ...picture }) => {
        const image = await artefacts.picture(picture, { signal });
        if (image === undefined) return undefined;
        return { seed, image, evaluations, reportedSeed, revisedPrompt, source };
      }),
    );
    const whole = drawn.filter((one) => one !== undefined);
    return whole.length === images.length ? { images: whole, warnings } : undefined;
  }

  async #travelling(request: ImageRequest, signal: AbortSignal | undefined): Promise<TravellingRequest> {
    const { artefacts } = this.dispatcher;
    const picture = async (image: RgbImage | undefined): Promise<StoredPicture | null> =>
      image === undefined ? null : artefacts.putPicture(image, { signal });
    const file = (path: string) => artefacts.putFile(path, { signal });
    const { prompt, seed, count, batch } = request;
    return {
      prompt,
      seed,
      count,
      batch,
      negativePrompt: request.negativePrompt ?? null,
      steps: request.steps ?? null,
      guidance: request.guidance ?? null,
      sampler: request.sampler ?? null,
      width: request.width ?? null,
      height: request.height ?? null,
      strength: request.strength ?? null,
      promptSyntax: request.promptSyntax ?? null,
      clipSkip: request.clipSkip ?? null,
      loraAnneal: request.loraAnneal ?? null,
      init: await picture(request.init),
      mask: await picture(request.mask),
      embeddings: await Promise.all((request.embeddings ?? []).map(file)),
      loras: await Promise.all(
        (request.loras ?? []).map(async ({ path, scale = 1 }) => ({ ...(await file(path)), scale })),
      ),
    };
  }
}
