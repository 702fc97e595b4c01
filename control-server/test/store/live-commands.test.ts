import t from 'tap'
import type { Command } from '../../src/lifecycle/command.ts'
import { createLiveCommands } from '../../src/store/live-commands.ts'
import { completed, offered, running, waiting } from '../lifecycle/builders.ts'

const opened = (...commands: Command[]) => {
  const reads: string[] = []
  const stored = new Map(commands.map((command) => [command.commandId, command]))
  const live = createLiveCommands({
    readAll: () => {
      reads.push('all')
      return [...stored.values()]
    },
    readOne: (commandId) => {
      reads.push(commandId)
      return stored.get(commandId) as Command
    },
    isSmall: ({ commandId }) => !commandId.startsWith('large'),
  })
  return { live, reads, stored }
}
const ids = (commands: readonly Command[]) => commands.map(({ commandId }) => commandId)

t.test('what agents have is read once, and known by agent in the order of ids', async (t) => {
  const { live, reads } = opened(running('b'), offered('a'))
  t.same(ids(live.of('x')), ['a', 'b'])
  t.equal(live.get('b')?.status, 'RUNNING')
  t.equal(live.get('c'), undefined)
  t.same(live.of('nobody'), [])
  t.same(reads, ['all'])
})

t.test('what is written is known as it was written, until it is over', async (t) => {
  const { live, reads } = opened(offered('a'))
  t.equal(live.get('a')?.status, 'PENDING')
  live.put(running('a'))
  t.equal(live.get('a')?.status, 'RUNNING')
  live.put(offered('new'))
  t.same(ids(live.of('x')), ['a', 'new'])
  live.put(waiting('new'))
  live.put(completed('a'))
  t.same(live.of('x'), [])
  t.equal(live.get('a'), undefined)
  t.same(reads, ['all'])
})

t.test('a large one is known and not kept', async (t) => {
  const { live, reads, stored } = opened(offered('large'))
  t.same(ids(live.of('x')), ['large'])
  stored.set('large', running('large'))
  live.put(running('large'))
  t.equal(live.get('large')?.status, 'RUNNING')
  t.same(reads, ['all', 'large', 'large'])
})

t.test('after a write that was undone all is read anew', async (t) => {
  const { live, reads } = opened(offered('a'))
  live.of('x')
  live.put(running('a'))
  live.forget()
  live.put(running('b'))
  t.equal(live.get('a')?.status, 'PENDING')
  t.equal(live.get('b'), undefined, 'nor is what was written after it, which the reading would show')
  t.same(reads, ['all', 'all'])
})
