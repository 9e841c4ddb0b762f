/** @file A reward whose scores are computed by the workers of a queue. */

import { UsageError } from "../errors.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { ModelRecords } from "../pipeline/manifest.js";
import type { Reward, RewardOptions, RewardResult, ScoreReference } from "../rewards/contract.js";
import type { ModelIdentity } from "../weights/identity.js";
import type { Dispatcher } from "./dispatch.js";
import { type ExpectedModel, SCORE_CAPABILITY, scoredSchema, speaker, type TravellingChoice } from "./protocol.js";

/** What a worker says of what it scores with. */
export interface DescribedReward {
  readonly name: string;
  /** As a person calls it. */
  readonly model: string;
  readonly range: readonly [number, number];
  readonly reference?: ScoreReference | undefined;
  /** What a manifest says of it, its members and what watches. */
  readonly records: Omit<ModelRecords, "backend">;
}

/** A reward as workers describe it. Each call is a job. */
export class QueueReward implements Reward {
  readonly name: string;
  readonly model: ModelIdentity;
  readonly range: readonly [number, number];
  readonly reference: ScoreReference | undefined;
  /** What a manifest says of it, its members and what watches. */
  readonly records: Omit<ModelRecords, "backend">;
  readonly #expect: ExpectedModel;

  constructor(
    private readonly dispatcher: Dispatcher,
    /** By what names workers know it. */
    private readonly choice: TravellingChoice,
    { name, model, range, reference, records }: DescribedReward,
    /** Calls that may be under way at once. */
    readonly concurrency: number,
  ) {
    this.name = name;
    this.model = { name: model, path: undefined, digest: records.reward.digest };
    this.range = range;
    this.reference = reference;
    this.records = records;
    this.#expect = { name: records.reward.name, model: records.reward.model, digest: records.reward.digest };
  }

  /** As every reward does. Throws as `Dispatcher.run` does, too. */
  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<RewardResult> {
    if (images.length === 0) return { scores: [], warnings: [] };
    const given = images.map(expectRgb);
    const pictures = await Promise.all(given.map((image) => this.dispatcher.artefacts.putPicture(image, { signal })));
    const job = {
      kind: "score",
      ...speaker(),
      expect: this.#expect,
      choice: this.choice,
      prompt,
      images: pictures,
    } as const;
    const { scores, warnings, members, heldOut } = await this.dispatcher.run(
      SCORE_CAPABILITY,
      job,
      scoredSchema,
      (value) => Promise.resolve(value.scores.length === images.length ? value : undefined),
      signal,
      given,
    );
    return { scores: numbers(scores), warnings, members: byName(members), heldOut: byName(heldOut) };
  }

  /** The workers' models stay with them. */
  dispose(): Promise<void> {
    return Promise.resolve();
  }
}

function expectRgb(image: RgbImage | SourceImage): RgbImage {
  if (!("mode" in image)) return image;
  if (image.mode === "RGB") return image;
  throw new UsageError(`--queue: expected pictures in RGB, which travel as they are, got mode ${image.mode}`);
}

function numbers(scores: readonly (number | null)[]): number[] {
  return scores.map((score) => score ?? Number.NaN);
}

function byName(scores: Readonly<Record<string, readonly (number | null)[]>> | undefined): RewardResult["members"] {
  if (scores === undefined) return undefined;
  return Object.fromEntries(Object.entries(scores).map(([name, values]) => [name, numbers(values)]));
}
