"""The paper's tables as studies: configurations trained, measured and tabulated beside the paper's numbers."""

from stylegan.studies.plan import Choices, Plan, make_plan
from stylegan.studies.tables import TABLES, Column, Row, Table

__all__ = ["TABLES", "Choices", "Column", "Plan", "Row", "Table", "make_plan"]
