// What the pool needs, as a table, and over random pools: nothing is used that should not be, and it fills up.
import fc from 'fast-check'
import t from 'tap'
import { MAKING_MAX, type Member, planPool } from '../../../src/executors/run-agent/pool-plan.ts'

const member = (name: string, change: Partial<Member> = {}): Member => ({
  ...{ name, isRunning: true, isCurrent: true, createdAtMs: 0 },
  ...change,
})
const plan = (members: Member[], change: object = {}) => {
  const { ready, remove, ...rest } = planPool({ members, making: 0, size: 2, idleMs: 100, nowMs: 50, ...change })
  return { ...rest, ready: ready.map(({ name }) => name), remove: remove.map(({ name }) => name) }
}

t.test('what there should be and what there is', async (t) => {
  const [a, b, c] = [member('a'), member('b', { createdAtMs: 10 }), member('c', { createdAtMs: 20 })]
  t.same(plan([]), { ready: [], remove: [], dead: 0, make: 2 })
  t.same(plan([], { making: 1 }), { ready: [], remove: [], dead: 0, make: 1 })
  t.same(plan([], { size: 9, making: 1 }).make, MAKING_MAX - 1)
  t.same(plan([b, a]), { ready: ['a', 'b'], remove: [], dead: 0, make: 0 }, 'the oldest is taken first')
  t.same(plan([a, b, c]), { ready: ['b', 'c'], remove: ['a'], dead: 0, make: 0 }, 'one too many')
  t.same(plan([a, b], { size: 0 }), { ready: [], remove: ['a', 'b'], dead: 0, make: 0 })
  t.same(plan([a, { ...b, isRunning: false }]), { ready: ['a'], remove: ['b'], dead: 1, make: 1 })
  t.same(plan([a, { ...b, isCurrent: false }]), { ready: ['a'], remove: ['b'], dead: 0, make: 1 })
  t.same(plan([a, b], { nowMs: 105 }), { ready: ['b'], remove: ['a'], dead: 0, make: 1 }, 'it has waited for long')
  t.same(plan([a, b], { nowMs: 500 }), { ready: ['b'], remove: ['a'], dead: 0, make: 1 }, 'one at a time')
})

t.test('none is both ready and removed, and what is ready will do', async () => {
  const members = fc.uniqueArray(
    fc.record({
      name: fc.string({ minLength: 1 }),
      isRunning: fc.boolean(),
      isCurrent: fc.boolean(),
      createdAtMs: fc.nat(1000),
    }),
    { selector: ({ name }) => name, maxLength: 10 },
  )
  fc.assert(
    fc.property(members, fc.nat(3), fc.nat(5), fc.nat(1500), (members, making, size, nowMs) => {
      const { ready, remove, make } = planPool({ members, making, size, idleMs: 300, nowMs })
      return (
        ready.length + remove.length === members.length &&
        ready.every((each) => each.isRunning && each.isCurrent && !remove.includes(each)) &&
        ready.length <= size &&
        make >= 0 &&
        make + making <= Math.max(making, MAKING_MAX) &&
        (make === 0 || ready.length + making + make <= size)
      )
    }),
  )
})
