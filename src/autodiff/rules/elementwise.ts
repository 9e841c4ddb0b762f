/** @file Gradient rules of the elementwise ops. dy is the output's gradient; broadcasting is undone by the engine. */

import {
  add,
  and,
  cast,
  cos,
  div,
  equal,
  erf,
  exp,
  greater,
  less,
  log,
  mul,
  neg,
  not,
  pow,
  sigmoid,
  sign,
  sin,
  sub,
  tanh,
  where,
} from "../../graph/builder.js";
import type { Value } from "../../graph/types.js";
import type { GradientRule, RuleFamily } from "../rule.js";
import { binary, given, unary, upstream, zero } from "../rule.js";

type Elementwise =
  | "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Erf" | "Sin" | "Cos"
  | "Tanh" | "Sigmoid" | "Relu" | "Softplus" | "Gelu" | "Sign" | "Floor" | "Equal" | "Greater" | "Less" | "Not" | "And" | "Or" | "Where"
  | "Cast" | "Clip" | "Identity"; // prettier-ignore

/** dy where `wins(a, b)`, half of it where a = b, nothing elsewhere; the other operand gets the rest (as torch.maximum). */
function choice(wins: (a: Value, b: Value) => Value): GradientRule {
  return binary((a, b, _y, dy) => {
    const da = where(wins(a, b), dy, where(equal(a, b), mul(dy, 0.5), 0));
    return [da, sub(dy, da)];
  });
}

/** The number a constant of one element holds. */
function constantNumber({ source }: Value): number | undefined {
  return source.kind === "constant" && source.tensor.data.length === 1 ? Number(source.tensor.data[0]) : undefined;
}

/** d(a^p)/da for a known exponent, avoiding the slow general power where a product does. */
function powerDerivative(a: Value, y: Value, p: number): Value {
  if (p === 2) return mul(a, 2);
  if (p === 0.5) return div(0.5, y);
  return mul(pow(a, p - 1), p);
}

const GELU_CUBIC = 0.044715;

/** Rules of the elementwise ops. */
export const elementwiseRules: RuleFamily<Elementwise> = {
  // y = a + b:  da = dy, db = dy
  Add: binary((_a, _b, _y, dy) => [dy, dy]),
  // y = a - b:  da = dy, db = -dy
  Sub: binary((_a, _b, _y, dy) => [dy, neg(dy)]),
  // y = a b:  da = dy b, db = dy a
  Mul: binary((a, b, _y, dy) => [mul(dy, b), mul(dy, a)]),
  // y = a / b:  da = dy / b, db = -dy y / b
  Div: binary((_a, b, y, dy) => {
    const da = div(dy, b);
    return [da, neg(mul(da, y))];
  }),
  // y = a^b:  da = dy b a^(b-1), db = dy y ln a
  Pow: binary((a, b, y, dy) => {
    const p = constantNumber(b);
    const da = p === undefined ? mul(b, pow(a, sub(b, 1))) : powerDerivative(a, y, p);
    return [mul(dy, da), mul(dy, mul(y, log(a)))];
  }),
  // y = max(a, b):  da = dy [a > b] + dy/2 [a = b], db = dy - da
  Max: choice(greater),
  // y = min(a, b):  da = dy [a < b] + dy/2 [a = b], db = dy - da
  Min: choice(less),
  // y = -x:  dx = -dy
  Neg: unary((_x, _y, dy) => neg(dy)),
  // y = |x|:  dx = dy sign(x)
  Abs: unary((x, _y, dy) => mul(dy, sign(x))),
  // y = sqrt(x):  dx = dy / (2 y)
  Sqrt: unary((_x, y, dy) => div(mul(dy, 0.5), y)),
  // y = 1 / x:  dx = -dy y^2
  Reciprocal: unary((_x, y, dy) => neg(mul(dy, mul(y, y)))),
  // y = e^x:  dx = dy y
  Exp: unary((_x, y, dy) => mul(dy, y)),
  // y = ln x:  dx = dy / x
  Log: unary((x, _y, dy) => div(dy, x)),
  // y = erf(x):  dx = dy 2/sqrt(pi) e^(-x^2)
  Erf: unary((x, _y, dy) => mul(dy, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI)))),
  // y = sin x:  dx = dy cos x
  Sin: unary((x, _y, dy) => mul(dy, cos(x))),
  // y = cos x:  dx = -dy sin x
  Cos: unary((x, _y, dy) => neg(mul(dy, sin(x)))),
  // y = tanh x:  dx = dy (1 - y^2)
  Tanh: unary((_x, y, dy) => mul(dy, sub(1, mul(y, y)))),
  // y = 1 / (1 + e^-x):  dx = dy y (1 - y)
  Sigmoid: unary((_x, y, dy) => mul(dy, mul(y, sub(1, y)))),
  // y = max(x, 0):  dx = dy [x > 0]
  Relu: unary((x, _y, dy) => where(greater(x, 0), dy, 0)),
  // y = ln(1 + e^x):  dx = dy sigmoid(x)
  Softplus: unary((x, _y, dy) => mul(dy, sigmoid(x))),
  // "none":  y = x Phi(x):  dx = dy (Phi(x) + x phi(x)),  Phi(x) = (1 + erf(x/sqrt 2))/2,  phi(x) = e^(-x^2/2)/sqrt(2 pi)
  // "tanh":  y = x (1 + t)/2,  t = tanh(u),  u = sqrt(2/pi) (x + c x^3):  dx = dy ((1 + t)/2 + x (1 - t^2) u'/2)
  Gelu: (context) => {
    const [x, dy] = [given(context, 0), upstream(context)];
    const square = mul(x, x);
    if (context.attributes.approximate === "tanh") {
      const root = Math.sqrt(2 / Math.PI);
      const t = tanh(mul(x, add(mul(square, root * GELU_CUBIC), root)));
      const slope = add(mul(square, 1.5 * root * GELU_CUBIC), root / 2);
      return [mul(dy, add(add(mul(t, 0.5), 0.5), mul(mul(x, slope), sub(1, mul(t, t)))))];
    }
    const cumulative = add(mul(erf(mul(x, Math.SQRT1_2)), 0.5), 0.5);
    const density = mul(exp(mul(square, -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return [mul(dy, add(cumulative, mul(x, density)))];
  },
  // piecewise constant:  dx = 0
  Sign: zero,
  Floor: zero,
  // y = a where c, b elsewhere:  da = dy [c], db = dy [not c]
  Where: (context) => {
    const [condition, dy] = [given(context, 0), upstream(context)];
    return [undefined, where(condition, dy, 0), where(condition, 0, dy)];
  },
  // y = x in another precision:  dx = dy in x's precision
  Cast: (context) => [cast(upstream(context), given(context, 0).dtype)],
  // y = min(max(x, low), high):  dx = dy [low <= x <= high]
  Clip: (context) => {
    const [x, low, high] = [given(context, 0), context.inputs[1], context.inputs[2]];
    const within = [low && not(less(x, low)), high && not(greater(x, high))].filter((mask) => mask !== undefined);
    const dy = upstream(context);
    const dx =
      within.length === 0
        ? dy
        : where(
            within.reduce((left, right) => and(left, right)),
            dy,
            0,
          );
    return context.inputs.map((_, index) => (index === 0 ? dx : undefined));
  },
  // y = x:  dx = dy
  Identity: unary((_x, _y, dy) => dy),
  Equal: "nondifferentiable",
  Greater: "nondifferentiable",
  Less: "nondifferentiable",
  Not: "nondifferentiable",
  And: "nondifferentiable",
  Or: "nondifferentiable",
};
