/** @file Doubling a feature map by repetition and convolving it 3x3, without ever making the doubled map. */

import { add, concat, conv, reshape, resizeNearest, split } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { conv2d } from "./conv2d.js";
import { staticSize } from "./dimension.js";
import type { Scope } from "./scope.js";

/**
 * `conv2d(scope, x repeated twice along height and width)`, `[N, C, h, w]` to `[N, C, 2h, 2w]`.
 * Of the nine pixels under the kernel, neighbours are copies of one another: an output at an even row sees, of the rows of `x`, one under weight w0 and one under
 * w1 + w2, at an odd row one under w0 + w1 and one under w2; the same holds for columns. So in inference four 2x2 convolutions of `x` with summed weights (constants that are
 * folded when the program is loaded) give the four outputs of each pixel: 16 products instead of 36.
 */
export function upsampleConv2d(scope: Scope, x: Value): Value {
  const [channels, height, width] = [1, 2, 3].map((axis) => staticSize(x, axis, scope.prefix)) as [
    number,
    number,
    number,
  ];
  // a low-rank addition has no place in the sums, and they have a gradient that nobody needs
  if (scope.mode !== "inference" || scope.adapters.length > 0) return conv2d(scope, resizeNearest(x, 2), channels);
  const bias = scope.parameter("bias", [channels]);
  const rows = halves(scope.parameter("weight", [channels, channels, 3, 3]), 2).map((weight, row) => {
    const columns = halves(weight, 3).map((kernel, column) => {
      const pads = [1 - row, 1 - column, row, column] as const;
      return reshape(conv(x, kernel, bias, { pads }), [x.shape[0] ?? 1, channels, height, width, 1]);
    });
    return reshape(concat(columns, 4), [x.shape[0] ?? 1, channels, height, 1, 2 * width]);
  });
  return reshape(concat(rows, 3), [x.shape[0] ?? 1, channels, 2 * height, 2 * width]);
}

/** The kernels that even and odd outputs apply along `axis` of `weight`, whose size there is 3: [w0, w1 + w2] and [w0 + w1, w2]. */
function halves(weight: Value, axis: number): [Value, Value] {
  const [first, middle, last] = split(weight, [1, 1, 1], axis) as [Value, Value, Value];
  return [concat([first, add(middle, last)], axis), concat([add(first, middle), last], axis)];
}
