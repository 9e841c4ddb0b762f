/** @file Eigenvalues of small symmetric matrices. */

/** Sweeps converge quadratically: a handful suffice for any size; more means that the matrix holds something that is no number. */
const MOST_SWEEPS = 60;

/**
 * The eigenvalues of a symmetric matrix, ascending, by cyclic Jacobi rotations (Golub & Van Loan, Matrix Computations, 8.5). For matrices of
 * up to a few hundred rows; only the upper triangle is read.
 * @param matrix row by row, `size` * `size` values
 */
export function symmetricEigenvalues(matrix: ArrayLike<number>, size: number): number[] {
  const rows = Array.from({ length: size }, (_, i) =>
    Float64Array.from({ length: size }, (_, j) => matrix[Math.min(i, j) * size + Math.max(i, j)] ?? Number.NaN),
  );
  const norm = Math.hypot(...rows.map((row) => Math.hypot(...row)));
  for (let sweep = 0; sweep < MOST_SWEEPS && offDiagonal(rows) > 1e-14 * norm; sweep++) {
    for (let p = 0; p < size; p++) for (let q = p + 1; q < size; q++) rotate(rows, p, q);
  }
  return rows.map((row, i) => row[i]!).sort((a, b) => a - b);
}

function offDiagonal(rows: readonly Float64Array[]): number {
  return Math.hypot(...rows.map((row, i) => Math.hypot(...row.subarray(i + 1))));
}

/** The rotation of rows and columns p and q that makes their common element zero. */
function rotate(rows: readonly Float64Array[], p: number, q: number): void {
  const [rowP, rowQ] = [rows[p]!, rows[q]!];
  const common = rowP[q]!;
  if (common === 0) return;
  const theta = (rowQ[q]! - rowP[p]!) / (2 * common);
  const tangent = Math.sign(theta === 0 ? 1 : theta) / (Math.abs(theta) + Math.hypot(theta, 1));
  const cosine = 1 / Math.hypot(tangent, 1);
  const sine = tangent * cosine;
  for (const row of rows) {
    const [x, y] = [row[p]!, row[q]!];
    row[p] = cosine * x - sine * y;
    row[q] = sine * x + cosine * y;
  }
  for (let k = 0; k < rowP.length; k++) {
    const [x, y] = [rowP[k]!, rowQ[k]!];
    rowP[k] = cosine * x - sine * y;
    rowQ[k] = sine * x + cosine * y;
  }
}
