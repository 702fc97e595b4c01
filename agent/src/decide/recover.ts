/** What a restart does with each open entry of the journal. */
import type { Phase } from '../journal/journal.ts'

export type Recovery =
  /** Say again that it is accepted; the server grants it, or not. */
  | 'ask'
  /** Run it again, or take it up again, for the rest of its time, once the server has confirmed it to this incarnation. */
  | 'resume'
  /** It may have run: the outcome is unknown and is named so. */
  | 'interrupt'
  /** Report the stored outcome. */
  | 'report'

export function recover(phase: Phase, afterCrash: 'resume' | 'adopt' | 'interrupted'): Recovery | null {
  switch (phase) {
    case 'ACCEPTED':
      return 'ask'
    case 'STARTED':
      return afterCrash === 'interrupted' ? 'interrupt' : 'resume'
    case 'FINISHED':
      return 'report'
    case 'ACKED':
      return null
  }
}
