/** @file Resampling of weighted particles. */

/** The effective number of particles of these weights, from 1 to their count: (sum w)^2 / sum w^2. */
export function effectiveSampleSize(weights: readonly number[]): number {
  const [sum, squares] = weights.reduce(([a, b], weight) => [a + weight, b + weight * weight], [0, 0]);
  return squares === 0 ? 0 : (sum * sum) / squares;
}

/**
 * Systematic resampling (Douc and Cappe 2005): of n particles, that of weight w goes on floor or ceil of n w / sum times.
 * @param offset uniform in [0, 1)
 * @returns for each of the n places, which particle goes on there, rising
 */
export function systematicResample(weights: readonly number[], offset: number): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const places: number[] = [];
  let [particle, reached] = [0, weights[0]! / total];
  for (let i = 0; i < weights.length; i++) {
    const position = (i + offset) / weights.length;
    while (reached < position && particle < weights.length - 1) reached += weights[++particle]! / total;
    places.push(particle);
  }
  return places;
}

/**
 * The same choice with every chosen particle in its own place and the further copies of it in the places of particles that were not chosen.
 * @param chosen for each place, which particle goes on
 * @returns for each place, which particle goes on there; its own where it was chosen
 */
export function placed(chosen: readonly number[]): number[] {
  const copies = chosen.filter((particle, i) => chosen.indexOf(particle) !== i);
  const kept = new Set(chosen);
  let next = 0;
  return chosen.map((_, place) => (kept.has(place) ? place : copies[next++]!));
}

/** Weights from their logarithms, the largest being 1. */
export function fromLogarithms(logarithms: readonly number[]): number[] {
  const highest = Math.max(...logarithms);
  return logarithms.map((value) => (highest === -Infinity ? 1 : Math.exp(value - highest)));
}
