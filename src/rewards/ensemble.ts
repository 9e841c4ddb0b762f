/** @file Several rewards as one: the weighted sum of their scores, each brought to the same scale by where its scores are known to lie. */

import { UsageError } from "../errors.js";
import { add, div, mul, sub } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Preprocessing } from "../image/preprocess.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { Device } from "../runtime/device.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ModelIdentity } from "../weights/identity.js";
import type {
  DifferentiableReward,
  Reward,
  RewardGradient,
  RewardNetwork,
  RewardOptions,
  RewardResult,
  ScoreReference,
} from "./contract.js";
import { PixelGradient } from "./pixel-gradient.js";
import { preprocessImage } from "./preprocess-graph.js";

const NAME = "ensemble";

/** A reward of an ensemble. */
export interface EnsembleMember<R extends Reward = Reward> {
  readonly reward: R;
  /** Its factor in the sum; not 0. A negative one turns it around. */
  readonly weight: number;
  /** @default the reward's own */
  readonly reference?: ScoreReference | undefined;
}

/** A member with all that is known of it. */
export interface NamedMember<R extends Reward> {
  /** Unique in the ensemble: the reward's, with a number where there are several of one name. */
  readonly name: string;
  readonly reward: R;
  readonly weight: number;
  readonly reference: ScoreReference;
}

/**
 * Several rewards as one; differentiable when all of them are and there is a device for it.
 *
 *     score = sum_i weight_i * (score_i - mean_i) / std_i
 *
 * with mean and std of each member's reference, never of the images at hand: a score does not depend on the images beside it.
 * @param device where gradients are computed @default none are
 * @throws UsageError for no members, a weight that is 0 or no number, or a member of whose scores nothing is known
 */
export function openEnsemble(members: readonly EnsembleMember[], device?: Device): Ensemble {
  const named = namedMembers(members);
  const differentiable = named.flatMap((one) => (isDifferentiable(one.reward) ? { ...one, reward: one.reward } : []));
  return device !== undefined && differentiable.length === named.length
    ? new DifferentiableEnsemble(differentiable, device)
    : new Ensemble(named);
}

/** Whether a reward has a network and a gradient. */
export function isDifferentiable(reward: Reward): reward is DifferentiableReward {
  return "network" in reward && "gradient" in reward;
}

function namedMembers(members: readonly EnsembleMember[]): NamedMember<Reward>[] {
  if (members.length === 0) throw new UsageError("ensemble: expected at least one reward, got none");
  const names = uniqueNames(members.map(({ reward }) => reward.name));
  const faults: string[] = [];
  const named = members.flatMap(({ reward, weight, reference = reward.reference }, i) => {
    const name = names[i]!;
    if (!Number.isFinite(weight) || weight === 0) faults.push(`${name}: expected a weight other than 0, got ${weight}`);
    if (reference === undefined) {
      faults.push(`${name}: expected mean and std of its scores, which it does not know itself, got none`);
      return [];
    }
    if (!Number.isFinite(reference.mean) || !(reference.std > 0 && reference.std < Infinity))
      faults.push(
        `${name}: expected a mean and a std above 0 of its scores, got ${reference.mean} and ${reference.std}`,
      );
    return [{ name, reward, weight, reference }];
  });
  if (faults.length > 0) throw new UsageError(`ensemble: ${faults.join("; ")}`);
  return named;
}

/** The names, the second of a kind with `-2` behind it and so on. */
export function uniqueNames(names: readonly string[]): string[] {
  const taken = new Map<string, number>();
  return names.map((name) => {
    const count = (taken.get(name) ?? 0) + 1;
    taken.set(name, count);
    return count === 1 ? name : `${name}-${count}`;
  });
}

/** Several rewards as one. Its results say what each member gave. */
export class Ensemble<R extends Reward = Reward> implements Reward {
  readonly name = NAME;
  readonly range: readonly [number, number];
  /** A sum of scores of mean 0 and std 1 that agree only in part has about this. */
  readonly reference: ScoreReference;
  readonly model: ModelIdentity;

  /** Use {@link openEnsemble}. @internal */
  constructor(
    /** The rewards, with unique names. */
    readonly members: readonly NamedMember<R>[],
  ) {
    const std = Math.hypot(...members.map(({ weight }) => weight));
    this.range = [-2.5 * std, 2.5 * std];
    this.reference = { mean: 0, std, source: "its members' references, as if they were independent" };
    this.model = { name: members.map(({ name, weight }) => `${name}=${weight}`).join(","), path: undefined };
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    options: RewardOptions = {},
  ): Promise<RewardResult> {
    const scores = images.map(() => 0);
    const members: Record<string, readonly number[]> = {};
    const warnings = new Set<string>();
    // one after the other: what two of them share is then computed once
    for (const { name, reward, weight, reference } of this.members) {
      const result = await reward.score(prompt, images, options);
      for (const message of result.warnings) warnings.add(message);
      members[name] = result.scores;
      result.scores.forEach((score, i) => (scores[i]! += (weight * (score - reference.mean)) / reference.std));
    }
    return { scores, members, warnings: [...warnings] };
  }

  /** Disposes of every member. */
  async dispose(): Promise<void> {
    await Promise.all(this.members.map(({ reward }) => reward.dispose()));
  }
}

/** An ensemble of differentiable rewards. */
export class DifferentiableEnsemble extends Ensemble<DifferentiableReward> implements DifferentiableReward {
  readonly network: RewardNetwork;
  readonly imageSize: number;
  readonly #gradient: PixelGradient;

  /** Use {@link openEnsemble}. @internal */
  constructor(members: readonly NamedMember<DifferentiableReward>[], device: Device) {
    super(members);
    this.network = ensembleNetwork(members);
    this.imageSize = this.network.imageSize;
    this.#gradient = new PixelGradient(device, NAME, this.network);
  }

  gradient(prompt: string, pixels: Tensor<"float32">, options: RewardOptions = {}): Promise<RewardGradient> {
    return this.#gradient.run(prompt, pixels, options);
  }

  override async dispose(): Promise<void> {
    await Promise.all([super.dispose(), this.#gradient.dispose()]);
  }
}

/** Colours in [0, 1] as they are, of the middle of the image. */
const PLAIN: Pick<Preprocessing, "mean" | "std"> = { mean: [0, 0, 0], std: [1, 1, 1] };

/**
 * The members' networks side by side. Where all read the same pixels, so does the ensemble. Where they do not, it reads the square of the largest of
 * them in plain colours and each member preprocesses that: what `score` gives for square images, while of others members that pad see less.
 */
function ensembleNetwork(members: readonly NamedMember<DifferentiableReward>[]): RewardNetwork {
  const networks = members.map(({ reward }) => reward.network);
  const first = networks[0]!;
  const alike = ({ imageSize, preprocessing }: RewardNetwork): string => JSON.stringify([imageSize, preprocessing]);
  const same = networks.every((network) => alike(network) === alike(first));
  const imageSize = Math.max(...networks.map((network) => network.imageSize));
  const size = { width: imageSize, height: imageSize };
  return {
    imageSize,
    preprocessing: same ? first.preprocessing : { ...first.preprocessing, fit: "crop", ...PLAIN },
    tokenizer: undefined,
    weights: new Map(
      members.flatMap(({ name, reward }) =>
        [...reward.network.weights].map(([key, entry]) => [`${name}.${key}`, entry] as const),
      ),
    ),
    build(scope, pixels) {
      const parts = members.map(({ name, reward: { network }, weight, reference }): Value => {
        const own = same ? pixels : preprocessImage(pixels, size, network);
        const score = network.build(scope.at(name), own);
        return mul(div(sub(score, reference.mean), reference.std), weight);
      });
      return parts.reduce((sum, part) => add(sum, part));
    },
    textFeeds(prefix, prompts) {
      const texts = members.map(({ name, reward }) =>
        reward.network.textFeeds(prefix === "" ? name : `${prefix}.${name}`, prompts),
      );
      return {
        feeds: Object.assign({}, ...texts.map(({ feeds }) => feeds)) as Record<string, Tensor>,
        warnings: [...new Set(texts.flatMap(({ warnings }) => warnings))],
      };
    },
  };
}
