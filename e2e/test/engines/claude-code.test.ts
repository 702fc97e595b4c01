// Claude Code, and that the repository which does nothing to it is dangerous.
import t from 'tap'
import { engineWorld, needsEngine } from '../../src/engine-sandbox.ts'
import { FIRED, HOSTILE_REPOSITORY, LISTEN } from '../../src/hostile-repository.ts'
import { engineCases } from './cases.ts'

await engineCases(t, 'claude-code')

t.test('the hostile repository fires where it is called as it comes', await needsEngine('claude-code'), async (t) => {
  const own = await engineWorld()
  t.teardown(own.close)
  const careless = 'timeout 60 claude -p hello --dangerously-skip-permissions </dev/null >/dev/null 2>&1'
  const { stderr } = await own.run('claude-code', {
    ...{ prompt: 'Hello', files: HOSTILE_REPOSITORY },
    before: `git init -q .; ${LISTEN}; ${careless}; ${FIRED}; exit 0`,
  })
  t.match(stderr, 'fired-claude-hook-SessionStart')
  t.match(stderr, 'fired-claude-mcp')
})
