"""Two rooms with balls, boxes and keys, and a locked door between them: a world for SayCan, on minigrid.

`saycan.toml` plays it. What is observed for a skill is what is seen of its target, of the door, of the hands and of the
cells around; whether the skill can succeed is not observed, and has to be learned.
"""

import json
from collections import deque
from pathlib import Path

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import DIR_TO_VEC
from minigrid.core.grid import Grid
from minigrid.core.mission import MissionSpace
from minigrid.core.world_object import Ball, Box, Door, Key
from minigrid.minigrid_env import MiniGridEnv

from togi.agents.saycan.world import Instruction

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
SHAPES = {"ball": Ball, "box": Box, "key": Key}
THINGS = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
ROOMS = {"west": range(1, 5), "east": range(6, 10)}
WALL, WIDTH, HEIGHT = 5, 11, 7
DOOR_COLOUR = "yellow"
ACTIONS = (Actions.left, Actions.right, Actions.forward, Actions.pickup, Actions.drop, Actions.toggle)

# What is done, and to what: a thing, the door, a room, or what the hands hold.
SKILLS = (
    *((f"pick up the {thing}", ("pick up", thing)) for thing in THINGS),
    *((f"go to the {thing}", ("go to", thing)) for thing in THINGS),
    ("open the door", ("open", "door")),
    ("close the door", ("close", "door")),
    *((f"go to the {room} room", ("enter", room)) for room in ROOMS),
    ("put down what you are holding", ("put down", "")),
)
VERBS = ("pick up", "go to", "open", "close", "enter", "put down")


class _Cells(MiniGridEnv):
    """The grid and its rules, without pictures of what the agent sees, which nobody looks at here."""

    def __init__(self):
        super().__init__(mission_space=MissionSpace(lambda: ""), width=WIDTH, height=HEIGHT, max_steps=10**9)

    def _gen_grid(self, width, height):
        raise NotImplementedError("the world fills the grid itself")

    def gen_obs(self):
        return {}


class TwoRooms:
    skills = tuple(text for text, _ in SKILLS)
    actions = len(ACTIONS)
    instructions = tuple(
        Instruction(text=row.pop("text"), family=row.pop("family"), setting=row)
        for row in map(json.loads, Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines())
    )

    def __init__(self):
        self._cells = _Cells()
        self._skill, self._held_before, self._open_before = 0, None, False

    # -- what is played ------------------------------------------------------------------------------------------

    def start(self, seed, instruction=None):
        """The beginning of an instruction, or any state in which a skill might begin."""
        self._rng = np.random.default_rng(seed)
        setting = {} if instruction is None else instruction.setting
        self._goal = setting.get("goal", {})
        self._furnish(setting)
        while instruction and not self._is_fair(setting):
            self._furnish(setting)
        if not instruction and self._rng.random() < 0.4:
            self._take(str(self._rng.choice(sorted(self._things))))
        self.begin(0)

    def _furnish(self, setting):
        cells = self._cells
        cells.grid, cells.carrying, cells.step_count = Grid(WIDTH, HEIGHT), None, 0
        cells.grid.wall_rect(0, 0, WIDTH, HEIGHT)
        cells.grid.vert_wall(WALL, 0, HEIGHT)
        state = setting.get("door") or self._rng.choice(["locked", "closed", "open"])
        self._door = Door(DOOR_COLOUR, is_open=state == "open", is_locked=state == "locked")
        self._door_at = (WALL, int(self._rng.integers(1, HEIGHT - 1)))
        cells.grid.set(*self._door_at, self._door)
        self._things = {}
        named = [thing for room in ROOMS for thing in setting.get(room, [])]
        others = [thing for thing in THINGS if thing not in {*named, *setting.get("absent", [])}]
        fewest, most = (2, 5) if setting else (4, 12)
        others = self._rng.permutation(others)[: self._rng.integers(fewest, most)]
        for room in ROOMS:
            for thing in setting.get(room, []):
                self._place(thing, room)
        for thing in others:
            self._place(str(thing), str(self._rng.choice(list(ROOMS))))
        cells.agent_pos = self._free("west" if setting else str(self._rng.choice(list(ROOMS))))
        cells.agent_dir = int(self._rng.integers(4))

    def _is_fair(self, setting):
        """Whether nothing is done yet by luck, and nothing that is needed stands behind other things."""
        reached = self._reached(through=True)
        needed = [*(self._things[thing] for room in ROOMS for thing in setting.get(room, [])), self._door_at]
        wanted = bool(self._goal.get("nothing"))
        return self.solved(()) == wanted and all(self._stand(at, reached) is not None for at in needed)

    def begin(self, skill):
        self._skill, self._held_before, self._open_before = skill, self._held, self._door.is_open

    def observe(self, skill):
        verb, target = SKILLS[skill][1]
        at = self._where(target)
        x, y = self._cells.agent_pos
        ahead, side = (0, 0) if at is None else self._seen_from_agent(at)
        door_ahead, door_side = self._seen_from_agent(self._door_at)
        held = self._held
        around = [self._cells.grid.get(*self._beside(turn)) for turn in (0, -1, 1)]
        return np.array(
            [
                *(verb == other for other in VERBS),
                at is not None,
                held is not None and held == target,
                ahead / 8,
                side / 8,
                np.sign(ahead),
                np.sign(side),
                at is not None and (ahead, side) == (1, 0),
                at is not None and (at[0] < WALL) != (x < WALL),
                target in ROOMS and x in ROOMS.get(target, ()),
                door_ahead / 8,
                door_side / 8,
                (door_ahead, door_side) == (1, 0),
                x == WALL,
                y == self._door_at[1],
                self._door.is_open,
                self._door.is_locked,
                held is not None,
                held == f"{DOOR_COLOUR} key",
                *(cell is not None and not cell.can_overlap() for cell in around),
                isinstance(around[0], (Ball, Box, Key)),
            ],
            np.float32,
        )

    def act(self, action):
        """Do an action; says whether the skill that has begun has succeeded."""
        chosen = ACTIONS[action]
        held, front = self._held, self._beside(0)
        if chosen is not Actions.toggle or self._cells.grid.get(*front) is self._door:  # a box is not to be broken
            self._cells.step(chosen)
        if held is None and self._held is not None:
            self._things[self._held] = None
        elif held is not None and self._held is None:
            self._things[held] = front
        return self._succeeded()

    def solved(self, plan):
        """Whether the instruction is carried out, now that all of ``plan`` was done."""
        goal, at = self._goal, self._beside(0)
        facing = next((thing for thing, place in self._things.items() if place == at), None)
        x = self._cells.agent_pos[0]
        return (
            not (goal.get("nothing") and plan)
            and ("holding" not in goal or (self._held in goal["holding"] if goal["holding"] else self._held is None))
            and ("facing" not in goal or facing in goal["facing"])
            and ("door" not in goal or self._door.is_open == (goal["door"] == "open"))
            and ("room" not in goal or x in ROOMS[goal["room"]])
        )

    def picture(self):
        return self._cells.get_frame(highlight=False, tile_size=32)

    # -- for the oracle and for counting alone ---------------------------------------------------------------------

    def possible(self, skill):
        verb, target = SKILLS[skill][1]
        reached = self._reached()
        if verb == "put down":
            return self._held is not None and self._place_to_drop(reached) is not None
        if verb == "enter":
            return any(x in ROOMS[target] for x, _ in reached)
        at = self._where(target)
        ready = {
            "pick up": self._held is None,
            "go to": True,
            "open": not self._door.is_open and (not self._door.is_locked or self._held == f"{DOOR_COLOUR} key"),
            "close": self._door.is_open,
        }
        return at is not None and ready[verb] and self._stand(at, reached) is not None

    def carry_out(self, skill):
        """Do at once what the words of a skill say, where that is possible."""
        if not self.possible(skill):
            return
        verb, target = SKILLS[skill][1]
        reached = self._reached()
        if verb == "put down":
            cell, turn = self._place_to_drop(reached)
            self._go(cell, turn)
            thing, at = self._held, self._beside(0)
            self._cells.grid.set(*at, self._cells.carrying)
            self._cells.carrying, self._things[thing] = None, at
        elif verb == "enter":
            self._go(next(cell for cell in reached if cell[0] in ROOMS[target]), self._cells.agent_dir)
        else:
            self._go(*self._stand(self._where(target), reached))
            if verb == "pick up":
                self._take(target)
            elif verb in ("open", "close"):
                self._door.is_open, self._door.is_locked = verb == "open", False

    # -- the grid --------------------------------------------------------------------------------------------------

    @property
    def _held(self):
        thing = self._cells.carrying
        return None if thing is None else f"{thing.color} {thing.type}"

    def _where(self, target):
        if target == "door":
            return self._door_at
        if target in ROOMS:
            return (ROOMS[target][1], HEIGHT // 2)
        return self._things.get(target)

    def _seen_from_agent(self, at):
        x, y = np.subtract(at, self._cells.agent_pos)
        dx, dy = DIR_TO_VEC[self._cells.agent_dir]
        return int(x * dx + y * dy), int(y * dx - x * dy)

    def _beside(self, turn):
        return tuple(int(n) for n in self._cells.agent_pos + DIR_TO_VEC[(self._cells.agent_dir + turn) % 4])

    def _succeeded(self):
        verb, target = SKILLS[self._skill][1]
        if verb == "pick up":
            return self._held_before is None and self._held == target
        if verb == "put down":
            return self._held_before is not None and self._held is None
        if self._held != self._held_before:
            return False
        if verb == "enter":
            return self._cells.agent_pos[0] in ROOMS[target]
        if verb == "go to":
            return self._things.get(target) == self._beside(0)
        return self._door.is_open == (verb == "open") != self._open_before

    def _place(self, thing, room):
        colour, shape = thing.split()
        at = self._free(room)
        self._cells.grid.set(*at, SHAPES[shape](colour))
        self._things[thing] = at

    def _free(self, room):
        """An empty cell of a room, and not one before the door, which would shut it."""
        places = [
            (x, y)
            for x in ROOMS[room]
            for y in range(1, HEIGHT - 1)
            if self._cells.grid.get(x, y) is None and not (abs(x - WALL) == 1 and y == self._door_at[1])
        ]
        return places[self._rng.integers(len(places))]

    def _take(self, thing):
        at = self._things[thing]
        self._cells.carrying = self._cells.grid.get(*at)
        self._cells.grid.set(*at, None)
        self._things[thing] = None

    def _reached(self, through=False):
        """The cells that the agent can come to, from where it is; ``through`` the door even if it has no key."""
        start = tuple(int(n) for n in self._cells.agent_pos)
        found, waiting = {start: None}, deque([start])
        through = through or not self._door.is_locked or self._held == f"{DOOR_COLOUR} key"
        while waiting:
            x, y = waiting.popleft()
            for cell in ((x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)):
                there = self._cells.grid.get(*cell)
                if cell not in found and (there is None or (there is self._door and through)):
                    found[cell] = None
                    waiting.append(cell)
        return list(found)

    def _stand(self, at, reached):
        """Where to stand, and which way to look, with ``at`` in front."""
        for turn, step in enumerate(DIR_TO_VEC):
            cell = tuple(int(n) for n in at - step)
            if cell in reached:
                return cell, turn
        return None

    def _place_to_drop(self, reached):
        for cell in reached:
            for turn, step in enumerate(DIR_TO_VEC):
                if self._cells.grid.get(*(cell + step)) is None:
                    return cell, turn
        return None

    def _go(self, cell, turn):
        start = self._cells.agent_pos
        if (start[0] < WALL) != (cell[0] < WALL) and cell != self._door_at:
            self._door.is_open, self._door.is_locked = True, False
        self._cells.agent_pos, self._cells.agent_dir = cell, turn
