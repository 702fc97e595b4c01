import t from 'tap'
import { afterAnswer, NEW_UPLOAD, nextStep } from '../../src/decide/upload.ts'

t.test('what comes next of a stream', async (t) => {
  const upload = (change: object) => ({ ...NEW_UPLOAD, ...change })
  const rows: [object, { bytes: number; ended: 'complete' | 'cut' | null }, object][] = [
    [{}, { bytes: 0, ended: null }, { type: 'nothing' }],
    [{}, { bytes: 5, ended: null }, { type: 'chunk', offset: 0 }],
    [{ committed: 3 }, { bytes: 5, ended: 'complete' }, { type: 'chunk', offset: 3 }],
    [{ committed: 5 }, { bytes: 5, ended: null }, { type: 'nothing' }],
    [{ committed: 5 }, { bytes: 5, ended: 'complete' }, { type: 'end', bytes: 5, complete: true }],
    [{ committed: 5 }, { bytes: 5, ended: 'cut' }, { type: 'end', bytes: 5, complete: false }],
    [{ committed: 9 }, { bytes: 5, ended: 'complete' }, { type: 'end', bytes: 5, complete: true }],
    [
      { committed: 3, full: true },
      { bytes: 5, ended: null },
      { type: 'end', bytes: 3, complete: false },
    ],
    [{ committed: 5, done: true }, { bytes: 5, ended: 'complete' }, { type: 'nothing' }],
  ]
  for (const [change, spooled, step] of rows) t.same(nextStep(upload(change), spooled), step)
})

t.test('what an answer means', async (t) => {
  const chunk = { type: 'chunk', offset: 0 } as const
  const end = { type: 'end', bytes: 5, complete: true } as const
  const taken = { type: 'taken', committed: 5 } as const
  const refused = (code: string) => ({ type: 'refused', code }) as const
  t.same(afterAnswer(NEW_UPLOAD, chunk, taken, 'open'), { committed: 5, done: false, full: false })
  t.same(afterAnswer(NEW_UPLOAD, end, taken, 'open'), { committed: 5, done: true, full: false })
  t.same(
    afterAnswer({ committed: 5, done: false, full: false }, end, { type: 'rewind', committed: 2 }, 'open'),
    { committed: 2, done: false, full: false },
    'a server that was set back gets it again',
  )
  t.match(afterAnswer(NEW_UPLOAD, chunk, refused('LOG_FULL'), 'open'), { full: true, done: false })
  t.match(afterAnswer(NEW_UPLOAD, chunk, refused('LOG_ENDED'), 'open'), { done: true })
  for (const code of ['NOT_YOUR_ATTEMPT', 'ATTEMPT_NOT_FOUND', 'COMMAND_NOT_FOUND']) {
    t.match(afterAnswer(NEW_UPLOAD, chunk, refused(code), 'open'), { done: false })
    t.match(afterAnswer(NEW_UPLOAD, chunk, refused(code), 'acknowledged'), { done: true })
  }
  t.equal(afterAnswer(NEW_UPLOAD, chunk, refused('EPOCH_CHANGED'), 'acknowledged'), NEW_UPLOAD)
})
