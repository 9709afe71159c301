"""Numbers as people read them: few digits, no needless zeros, and a spread in the same digits as its mean."""

from __future__ import annotations

import math

MISSING = "–"


def rounded(value: float | None, digits: int = 2) -> str:
    """A number with so many significant digits: ``0.00024``, ``0.69``, ``2,800``, ``1.3e-9``; "–" for None."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if size < -4 or size >= 9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - size)
    return f"{round(value, digits - 1 - size):,.{decimals}f}"


def plus_minus(mean: float, std: float | None, digits: int = 2) -> str:
    """A mean and its standard deviation to the same decimals, ``0.69 ± 0.04``; the mean alone without one."""
    if std is None:
        return rounded(mean, digits)
    largest = max(abs(mean), abs(std))
    size = math.floor(math.log10(largest)) if largest > 0 else 0
    if size < -4 or size >= 9:
        return f"{rounded(mean, digits)} ± {rounded(std, digits)}"
    decimals = max(0, digits - 1 - size)
    if std > 0:  # a small spread gets up to two decimals more, so that it does not read as none
        decimals = max(decimals, min(decimals + 2, -math.floor(math.log10(std))))
    return f"{mean:,.{decimals}f} ± {std:,.{decimals}f}"


def percent(fraction: float | None, std: float | None = None, *, sign: bool = True) -> str:
    """A fraction per cent with one decimal, ``2.6 %`` or ``2.6 ± 0.4 %``; the sign left out for a column headed so."""
    if fraction is None:
        return MISSING
    text = f"{100 * fraction:.1f}" if std is None else f"{100 * fraction:.1f} ± {100 * std:.1f}"
    return f"{text} %" if sign else text


def decimal(value: float, digits: int) -> str:
    """A number with so many digits behind its point: ``2,875.0``."""
    return f"{value:,.{digits}f}"


def in_points(number: str) -> str:
    """A difference of two values per cent, written out already: ``0.4 points``, ``+1.0 point``."""
    return f"{number} {'point' if float(number.replace(',', '')) == 1 else 'points'}"


def listed(items: list[str], last: str = "and") -> str:
    """Words in a row: ``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def counted(number: int, noun: str) -> str:
    """``1 training``, ``3 trainings``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
