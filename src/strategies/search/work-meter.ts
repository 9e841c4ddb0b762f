/** @file What a search spends, counted in operations, so that strategies can be given, and compared at, the same compute. */

/** Floating-point operations of one piece of work. */
export interface WorkCosts {
  /** One evaluation of the denoiser for one picture; a guided step takes two. */
  readonly evaluation: number;
  /** Latents of one picture to pixels. */
  readonly decoding: number;
  /** One picture by the reward, its prompt included. */
  readonly scoring: number;
  /** Pixels of one picture to latents. @default 0 */
  readonly encoding?: number | undefined;
  /** The gradient through one evaluation of the denoiser, which is made again for it. @default 0 */
  readonly evaluationGradient?: number | undefined;
  /** A score of one picture's latents, decoding included, with its gradient. @default 0 */
  readonly scoringGradient?: number | undefined;
}

const NOTHING: Readonly<Record<keyof WorkCosts, number>> = {
  evaluation: 0,
  decoding: 0,
  scoring: 0,
  encoding: 0,
  evaluationGradient: 0,
  scoringGradient: 0,
};

/** Counts work, and what it costs. */
export class WorkMeter {
  #costs: WorkCosts;
  readonly #counts: Record<keyof WorkCosts, number> = { ...NOTHING };

  constructor(costs: WorkCosts) {
    this.#costs = costs;
  }

  /** What a piece of each kind of work costs. */
  get costs(): WorkCosts {
    return this.#costs;
  }

  /** Takes note of costs that were not known from the start. */
  price(costs: Partial<WorkCosts>): void {
    this.#costs = { ...this.#costs, ...costs };
  }

  /** Takes note of `times` pieces of work. */
  count(kind: keyof WorkCosts, times: number): void {
    this.#counts[kind] += times;
  }

  /** Pieces of work of a kind so far. */
  counted(kind: keyof WorkCosts): number {
    return this.#counts[kind];
  }

  /** Operations of each kind of work so far, in `unit`s; kinds that there were none of are left out. */
  shares(unit: number): Record<string, number> {
    return Object.fromEntries(
      (Object.keys(NOTHING) as (keyof WorkCosts)[]).flatMap((kind): [string, number][] =>
        this.#counts[kind] === 0 ? [] : [[kind, (this.#counts[kind] * (this.costs[kind] ?? 0)) / unit]],
      ),
    );
  }

  /** Operations so far. */
  get operations(): number {
    return (Object.keys(NOTHING) as (keyof WorkCosts)[]).reduce(
      (sum, kind) => sum + (this.costs[kind] ?? 0) * this.#counts[kind],
      0,
    );
  }
}

/** Operations of a picture that is drawn in `evaluations` from noise to the end, decoded once and scored once. */
export function plainPicture({ evaluation, decoding, scoring }: WorkCosts, evaluations: number): number {
  return evaluations * evaluation + decoding + scoring;
}
