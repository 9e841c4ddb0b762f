/** @file HTML by tagged template: every value is escaped unless it is HTML already. */

/** Markup that is safe to insert as it is. */
export class Html {
  constructor(readonly markup: string) {}
  toString(): string {
    return this.markup;
  }
}

type Part = Html | string | number | null | undefined | readonly Part[];

/** `html\`<p>${text}</p>\``: strings and numbers are escaped, Html is inserted, lists are joined, null and undefined leave nothing. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let markup = strings[0] ?? "";
  for (const [index, part] of parts.entries()) markup += insert(part) + (strings[index + 1] ?? "");
  return new Html(markup);
}

/** Escapes text for element content and for attribute values in either kind of quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function insert(part: Part): string {
  if (part === null || part === undefined) return "";
  if (part instanceof Html) return part.markup;
  if (typeof part === "object") return part.map(insert).join("");
  return escapeHtml(String(part));
}
