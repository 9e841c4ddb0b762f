/** @file What the server answers when it cannot do what was asked: problem details as of RFC 9457. */

import { type OutgoingHttpHeaders, STATUS_CODES } from "node:http";
import { LaurelError } from "../errors.js";

/** An answer that says what is wrong with a request, or why it cannot be served. */
export class Problem extends LaurelError {
  override readonly name = "Problem";

  /**
   * @param status HTTP status, 400 or above
   * @param detail what is wrong, for the caller; nothing of this machine's files
   * @param more further members of the problem, and headers of the answer
   */
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly more: { readonly members?: object; readonly headers?: OutgoingHttpHeaders; readonly cause?: unknown } = {},
  ) {
    super(detail, { cause: more.cause });
  }

  /** The body of the answer. Its type is `about:blank`: the status says all that a program needs. */
  body(): Readonly<Record<string, unknown>> {
    const { status, detail } = this;
    return { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, detail, ...this.more.members };
  }
}
