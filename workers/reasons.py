"""Why a node does not work: the codes it reports or is told, in the words of the page.

`tasks.reasons.NodeReason` says the same for the platform; a test compares the two.
"""

from __future__ import annotations

from types import MappingProxyType

PAUSED = "paused_locally"
PAUSED_ON_PAGE = "paused_on_page"
DOWNLOADING = "model_downloading"
OFFLINE = "offline"
NO_WORK = "no_work"

# What only the platform can know; a running node is not told, `status` asks (`standing`).
NO_WORK_FOR_CLASS = "no_work_for_class"
NO_MATCH = "no_match"
OWN_WORK = "own_work"
QUOTA_LOW = "quota_low"
QUARANTINED = "quarantined"
BANNED = "banned"
SUSPENDED = "suspended"
FLOODING = "flooding"
DRAINED = "drained"
RETIRED = "retired"

SCHEDULE = "schedule"
BATTERY = "battery"
TOO_HOT = "too_hot"
METERED = "metered"
EXCLUSIVE_PROGRAM = "exclusive_program"
USER_ACTIVE = "user_active"
MEMORY_LOW = "memory_low"
DISK_FULL = "disk_full"
CLOCK_SKEW = "clock_skew"
KINDS_EXCLUDED = "kinds_excluded"
CATEGORIES_EXCLUDED = "categories_excluded"
BAD_LIMITS = "bad_limits"

#: Words that stand whatever the machine says of itself.
PAGES_OWN = frozenset({PAUSED_ON_PAGE, SUSPENDED, FLOODING, RETIRED, DRAINED, QUARANTINED})

#: Code -> (what it means, what the operator can change).
TEXTS = MappingProxyType[str, tuple[str, str]](
    {
        NO_WORK: ("Ready; no work at the moment.", ""),
        NO_WORK_FOR_CLASS: ("Ready; what waits is bound to other processors.", ""),
        NO_MATCH: ("Ready; what waits needs another owner or network.", ""),
        OWN_WORK: ("Ready; what waits is your own, which others compute.", ""),
        QUOTA_LOW: ("It may hold no more until more of its work has succeeded.", ""),
        QUARANTINED: (
            "No work for now: it was caught again, or staff look into it.",
            "see the refused work on its page; you can appeal",
        ),
        BANNED: (
            "No work until staff decide: it was caught a third time.",
            "see the refused work on its page; you can appeal",
        ),
        SUSPENDED: ("Stopped by staff.", "ask them why"),
        FLOODING: ("Stopped: it sent far more messages than work explains.", "ask staff"),
        DRAINED: ("Staff give it no new work; what it has it finishes.", "ask them how long"),
        RETIRED: ("Left for good.", "enrol it anew"),
        PAUSED: ("Paused on the machine itself.", "`nodefolk-node resume`"),
        PAUSED_ON_PAGE: ("Paused on its page.", "resume it on the node's page"),
        DOWNLOADING: ("Fetching a model.", ""),
        OFFLINE: ("No sign of life.", "`nodefolk-node doctor`"),
        SCHEDULE: ("Outside the hours it may work.", "`nodefolk-node limits set schedule=…`"),
        BATTERY: ("The computer runs on battery.", "plug it in, or `limits set battery=true`"),
        TOO_HOT: ("The computer is too hot.", "let it cool, or raise `celsius`"),
        METERED: ("The network is metered.", "`limits set metered=true`"),
        EXCLUSIVE_PROGRAM: ("A program runs that wants the computer for itself.", "close it"),
        USER_ACTIVE: ("Somebody uses the computer.", "`limits set only_when_idle=false`"),
        MEMORY_LOW: ("Too little memory is free.", "close programs, or lower `memory_free_mib`"),
        DISK_FULL: ("The disk is nearly full.", "make room, or lower `cache_mib`"),
        BAD_LIMITS: ("Its limits.toml cannot be understood.", "`nodefolk-node limits` says why"),
        KINDS_EXCLUDED: (
            "Its limits leave out the kinds of work there are.",
            "`limits set kinds=none`",
        ),
        CATEGORIES_EXCLUDED: (
            "Its limits leave out the clients who have work.",
            "`limits set client_categories=none`",
        ),
        CLOCK_SKEW: ("The computer's clock is wrong.", "set the clock, best by NTP"),
    }
)


def text(code: str) -> str:
    """Return what a code means; an unknown one is its own text."""
    return TEXTS[code][0] if code in TEXTS else code
