/** @file The warning for a prompt that is longer than its reader, and how it is told from other warnings. */

const MARK = "; not read: ";

/** @param what says whose limit it is and that the prompt is longer; `lost` is the part that is not read */
export function truncationWarning(what: string, lost: string): string {
  return `${what}${MARK}${JSON.stringify(lost)}`;
}

/** True for what {@link truncationWarning} gives. */
export function isTruncationWarning(message: string): boolean {
  return message.includes(MARK);
}
