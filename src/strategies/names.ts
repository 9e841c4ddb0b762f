/** @file Names of the strategies, and what each of them needs. */

/** All of them; the first is the default. */
export const STRATEGY_NAMES = [
  "best-of-n",
  "halving",
  "particles",
  "neighbours",
  "noise-gradient",
  "img2img-loop",
  "refine",
] as const;

/** Name of a strategy. */
export type StrategyName = (typeof STRATEGY_NAMES)[number];

/** What a strategy asks of what it works with. */
export interface StrategyNeeds {
  /** A backend whose pictures can be followed step by step. */
  readonly stepwise: boolean;
  /** That, and gradients: of a reward with respect to pixels, through decoder and denoiser. */
  readonly gradients: boolean;
  /** A reward; what needs none draws without scoring where there is none. */
  readonly reward: boolean;
  /** A backend that starts from pictures. */
  readonly imageToImage: boolean;
  /** How far indices of its candidates may go, as a multiple of the candidates of its budget: pictures left on the way have some, others cost less than whole ones. */
  readonly indices: number;
  /** Most candidates where evaluations or time are limited, and nothing is said of candidates. */
  readonly most: number;
}

/** As many as a request may have. */
const MOST = 10_000;

const PLAIN: StrategyNeeds = {
  stepwise: false,
  gradients: false,
  reward: true,
  imageToImage: false,
  indices: 1,
  most: MOST,
};

const NEEDS: Readonly<Record<StrategyName, StrategyNeeds>> = {
  "best-of-n": { ...PLAIN, reward: false },
  // a picture that is left was drawn for a third of its way or more
  halving: { ...PLAIN, stepwise: true, indices: 3 },
  particles: { ...PLAIN, stepwise: true },
  neighbours: { ...PLAIN, stepwise: true },
  // the gradient may pass a part of the steps
  "noise-gradient": { ...PLAIN, stepwise: true, gradients: true, indices: 4 },
  // a picture that starts from another takes a part of the steps
  "img2img-loop": { ...PLAIN, imageToImage: true, indices: 4 },
  // its rounds are laid out for so many
  refine: { ...PLAIN, most: 64 },
};

/** What the strategy of a name needs. */
export function strategyNeeds(name: StrategyName): StrategyNeeds {
  return NEEDS[name];
}

/** The strategies that work over any backend, whose pictures need not be followed on their way. */
export function strategiesAnywhere(): StrategyName[] {
  return STRATEGY_NAMES.filter((name) => !NEEDS[name].stepwise);
}
