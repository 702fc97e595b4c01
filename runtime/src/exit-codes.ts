/** Exit codes of our processes; the figures are those of sysexits(3), so that a service manager can tell them apart. */
export const EXIT = {
  /** The process was asked to stop and stopped in order. */
  ok: 0,
  /** The command line cannot be understood: starting again with the same arguments will not help. */
  usage: 64,
  /** The disk or the database file cannot be trusted any more: no further write is safe in this process. */
  io: 74,
  /** Another process has taken this one's place, so this one must not act again. */
  superseded: 75,
  /** A setting, or a file that a setting names, is wrong: a person has to change it. */
  config: 78,
} as const
