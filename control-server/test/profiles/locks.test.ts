import fc from 'fast-check'
import t from 'tap'
import { FIELDS } from '../../src/profiles/fields.ts'
import { isFieldLocked, isLockable, isVariableLocked, locksOf } from '../../src/profiles/locks.ts'

t.test('a lock holds its field, a section everything in it, and neither what only begins alike', async (t) => {
  t.ok(isFieldLocked(['agent.model'], 'agent.model'))
  t.notOk(isFieldLocked(['agent.model'], 'agent.engine'))
  t.ok(isFieldLocked(['agent'], 'agent.timeoutMs'))
  t.ok(isFieldLocked(['hooks.pre'], 'hooks.pre.script'))
  t.notOk(isFieldLocked(['agent.timeout'], 'agent.timeoutMs'))
  t.notOk(isFieldLocked([], 'agent.model'))
})

t.test(
  'who locks the template of a prompt has locked the text that would take its place, and the reverse',
  async (t) => {
    t.ok(isFieldLocked(['prompt.template'], 'prompt.text'))
    t.ok(isFieldLocked(['prompt.text'], 'prompt.template'))
    t.notOk(isFieldLocked(['prompt.template'], 'prompt.system'))
  },
)

t.test('variables are locked one by one, all together, or with the prompt', async (t) => {
  t.ok(isVariableLocked(['prompt.variables.a'], 'a'))
  t.notOk(isVariableLocked(['prompt.variables.a'], 'ab'))
  t.ok(isVariableLocked(['prompt.variables'], 'a'))
  t.ok(isVariableLocked(['prompt'], 'a'))
  t.notOk(isVariableLocked(['prompt.system'], 'a'))
})

t.test('a lock has to be about something', async (t) => {
  for (const lock of ['agent', 'agent.model', 'hooks.onFailure', 'prompt.variables', 'prompt.variables.a'])
    t.ok(isLockable(lock, ['a']), lock)
  for (const lock of [
    'agents',
    'agent.modell',
    'agent.model.name',
    'prompt.variables.b',
    'locked',
    'extends',
    'network.',
  ])
    t.notOk(isLockable(lock, ['a']), lock)
})

t.test('what any profile of a chain locks stays locked', async () => {
  fc.assert(
    fc.property(fc.array(fc.subarray([...FIELDS]), { maxLength: 8 }), (locked) => {
      const locks = locksOf(locked.map((each) => ({ locked: each })))
      for (const path of locked.flat()) if (!isFieldLocked(locks, path)) return false
      return FIELDS.every((path) => isFieldLocked(locks, path) || !locked.flat().includes(path))
    }),
  )
})
