"""An installation kit for a machine without internet: wheels for it, in parts that can be carried.

requirements ─ wheels ─────┐
augrank: wheel and source ─┼ parts.py ─ kit-000, kit-001, ... ─ install.sh
files to carry along ──────┘            SHA256SUMS
"""
