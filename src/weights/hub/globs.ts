/** @file Patterns of file names as huggingface_hub understands them: `*` and `?` match slashes, too, and a folder stands for all in it. */

/** True when a path matches one of the patterns. Source: Python's fnmatch, and huggingface_hub's filter_repo_objects. */
export function matchesAny(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => expression(pattern).test(path));
}

/** True for a pattern that names one file. */
export function isLiteral(pattern: string): boolean {
  return !/[*?[]/.test(pattern) && !pattern.endsWith("/");
}

function expression(pattern: string): RegExp {
  const whole = pattern.endsWith("/") ? `${pattern}*` : pattern;
  let source = "";
  for (let i = 0; i < whole.length; i++) {
    const character = whole[i]!;
    const end = character === "[" ? whole.indexOf("]", i + 2) : -1;
    if (character === "*") source += ".*";
    else if (character === "?") source += ".";
    else if (end > 0) {
      const inside = whole.slice(i + 1, end).replace(/[\\[\]^]/g, "\\$&");
      source += inside.startsWith("!") ? `[^${inside.slice(1)}]` : `[${inside}]`;
      i = end;
    } else source += character.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  }
  return new RegExp(`^${source}$`, "su");
}
