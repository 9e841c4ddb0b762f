/** @file What a score means: its place among the scores of a run, and among those of a model's reference pictures; what a threshold keeps. */

/** Scores that a reward gave to pictures of a known source, as a distribution function. */
export interface ReferenceScores {
  /** In words, to stand after "better than 84 % of": `the pictures Stable Diffusion 1.4 draws`. */
  readonly pictures: string;
  /** Where the figures come from. */
  readonly source: string;
  /** Share of the pictures below a score, 0 to 1; scores rise, shares never fall. Between the points it is read off straight lines. */
  readonly points: readonly { readonly score: number; readonly share: number }[];
}

/** A score in its surroundings. */
export interface ExplainedScore {
  /** Per cent of the run's other pictures that it is better than; a tie counts half. Null without a score, or without another. */
  readonly percentile: number | null;
  /** Per cent of the reference pictures that it is better than; null without a score or a reference. */
  readonly referencePercentile: number | null;
}

/** What a threshold keeps. */
export interface Threshold {
  readonly threshold: number;
  /** Pictures that score as much or more. */
  readonly kept: number;
  /** `kept` among the pictures with a score, 0 to 1. */
  readonly share: number;
  /** Share of the reference pictures that score more, 0 to 1; null without a reference. */
  readonly referenceShare: number | null;
}

/** Places of scores, in their order; null is a picture without a score. */
export function explainScores(scores: readonly (number | null)[], reference?: ReferenceScores): ExplainedScore[] {
  const known = scores.flatMap((score) => score ?? []);
  return scores.map((score) => {
    if (score === null) return { percentile: null, referencePercentile: null };
    const below = known.filter((other) => other < score).length;
    const equal = known.filter((other) => other === score).length - 1;
    return {
      percentile: known.length < 2 ? null : (100 * (below + equal / 2)) / (known.length - 1),
      referencePercentile: reference === undefined ? null : 100 * shareBelow(reference, score),
    };
  });
}

/** Share of the reference pictures below `score`, 0 to 1. Beyond the points it is that of the nearest. */
export function shareBelow({ points }: ReferenceScores, score: number): number {
  const after = points.findIndex((point) => point.score > score);
  if (after < 0) return points.at(-1)?.share ?? Number.NaN;
  const [left, right] = [points[after - 1], points[after]!];
  if (left === undefined) return right.share;
  return left.share + ((right.share - left.share) * (score - left.score)) / (right.score - left.score);
}

/** `84 %` for people; what would round to none or all is `under 1 %` or `over 99 %`. */
export function percentText(percent: number): string {
  if (percent < 0.5) return "under 1 %";
  return percent >= 99.5 ? "over 99 %" : `${Math.round(percent)} %`;
}

/** A {@link ExplainedScore.referencePercentile} in words: `better than 84 % of the pictures Stable Diffusion 1.4 draws`. */
export function betterThan({ pictures }: Pick<ReferenceScores, "pictures">, referencePercentile: number): string {
  return `better than ${percentText(referencePercentile)} of ${pictures}`;
}

/** Steps between the lowest and the highest score, at least. */
const STEPS = 4;

/** What round thresholds from the lowest to the highest score keep; none for fewer than two different scores. Those that are null do not count. */
export function thresholdTable(scores: readonly (number | null)[], reference?: ReferenceScores): Threshold[] {
  const known = scores.flatMap((score) => score ?? []);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (!(high > low)) return [];
  const step = roundStep((high - low) / STEPS);
  // thousandths of a step, so that 0.3 is three steps of 0.1
  const first = Math.ceil(low / step - 1e-3);
  return Array.from({ length: Math.floor(high / step + 1e-3) - first + 1 }, (_, i) => {
    // through its decimal digits, so that 3 * 0.1 is 0.3
    const threshold = Number(((first + i) * step).toPrecision(12));
    const kept = known.filter((score) => score >= threshold).length;
    const referenceShare = reference === undefined ? null : 1 - shareBelow(reference, threshold);
    return { threshold, kept, share: kept / known.length, referenceShare };
  });
}

/** The nearest of ..., 0.5, 1, 2, 5, 10, ... that is not above `most`. @param most above 0 */
export function roundStep(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * ([5, 2].find((digit) => digit * power <= most) ?? 1);
}
