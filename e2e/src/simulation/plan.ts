import type { Random } from '../random.ts'

/** What a world is made of; drawn once. Most have one kind of trouble above all, which others would hide. */
export function drawPlan(random: Random) {
  const trouble = random.pick(['all', 'all', 'takeovers', 'network', 'disks'] as const)
  const twins = trouble !== 'takeovers' && random.chance(0.1)
  const leaseMs = random.pick([5000, 10_000, 30_000])
  const plan = {
    twins,
    machines: twins ? 2 : random.between(1, 4),
    slots: { DELAY: random.between(1, 8), HTTP_GET_JSON: random.between(1, 8) },
    leaseMs,
    effectMs: random.pick([1000, 2 * leaseMs]),
    backoffMs: 1000,
    /** How many submissions allow retries, and how many of those a takeover. */
    retried: 0.5,
    auto: random.pick([0.2, 0.8]),
    /** How often things go wrong, from never to all the time. */
    loss: random.pick([0, 0.05, 0.25]),
    partitions: random.pick([0, 0.02, 0.05]),
    crashes: random.pick([0, 0.03, 0.15]),
    disasters: random.pick([0, 0.03, 0.08]),
    /** How often a disk is copied just when its agent says what it holds. */
    snapshots: 0.02,
    paceMs: leaseMs * random.pick([0.05, 0.2, 0.5]),
    /** How often a lease ends, and somebody else is there at that moment. */
    races: 0.01,
  }
  switch (trouble) {
    case 'all':
      return plan
    case 'takeovers': {
      const slow = {
        effectMs: random.pick([4, 16]) * leaseMs,
        backoffMs: 10,
        paceMs: 0.2 * leaseMs,
        machines: random.between(2, 3),
      }
      return {
        ...plan,
        ...slow,
        retried: 1,
        auto: 1,
        loss: 0.05,
        partitions: 0.04,
        races: 0.1,
        crashes: 0.01,
        disasters: 0,
      }
    }
    case 'network':
      return { ...plan, loss: random.pick([0.1, 0.4]), crashes: 0, disasters: 0 }
    case 'disks':
      return { ...plan, loss: 0.02, partitions: 0, crashes: 0.05, disasters: 0.1, snapshots: 0.4 }
  }
}
