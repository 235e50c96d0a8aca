"""What staff see and do: the state of the platform, drains, quarantines, checks, replays.

The pages, the API and the desk all call here. Each action is one transaction with its own
line in `StaffAction`; a second time it is refused, or changes nothing.
"""
