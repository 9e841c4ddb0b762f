import { expect, test } from "vitest";
import { symmetricEigenvalues } from "#laurel/util/eigenvalues";
import { smallRandom } from "#laurel/util/statistics";

test("eigenvalues of matrices that have a closed form", () => {
  expect(symmetricEigenvalues([], 0)).toEqual([]);
  expect(symmetricEigenvalues([7], 1)).toEqual([7]);
  const [low = 0, high = 0] = symmetricEigenvalues([2, 1, 1, 2], 2);
  expect(low).toBeCloseTo(1, 14);
  expect(high).toBeCloseTo(3, 14);
  // the second difference of n points: 2 - 2 cos(k pi / (n + 1))
  const n = 40;
  const difference = Array.from({ length: n * n }, (_, at) => {
    const distance = Math.abs(Math.floor(at / n) - (at % n));
    return distance === 0 ? 2 : distance === 1 ? -1 : 0;
  });
  const expected = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos(((k + 1) * Math.PI) / (n + 1)));
  const found = symmetricEigenvalues(difference, n);
  expect(Math.max(...found.map((value, k) => Math.abs(value - expected[k]!)))).toBeLessThan(1e-13);
});

test("of a random matrix, they keep the trace and the sum of squares", () => {
  const random = smallRandom(3);
  const n = 24;
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) matrix[i * n + j] = matrix[j * n + i] = random() - 0.5;
  const values = symmetricEigenvalues(matrix, n);
  const trace = Array.from({ length: n }, (_, i) => matrix[i * n + i]!).reduce((sum, value) => sum + value, 0);
  expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(trace, 12);
  expect(values.reduce((sum, value) => sum + value ** 2, 0)).toBeCloseTo(
    matrix.reduce((sum, value) => sum + value ** 2, 0),
    11,
  );
});

test("a matrix that holds no number comes to an end", () => {
  expect(symmetricEigenvalues([1, Number.NaN, Number.NaN, 1], 2)).toHaveLength(2);
});
